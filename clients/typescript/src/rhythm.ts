/** Time and chance, so that tests need neither. All times are milliseconds. */
export interface Rhythm {
  /** Milliseconds since 1970, to compare with the end of a token. */
  now(): number;
  /** Milliseconds since some moment; never goes back. */
  monotonic(): number;
  /** A number from 0 up to 1. */
  random(): number;
  /** Resolves after a while; rejects at once with the signal's reason when it is aborted. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** The real ones. */
export const realRhythm: Rhythm = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const stop = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, milliseconds);
      signal?.addEventListener("abort", stop, { once: true });
    }),
};

/** The promise, or the signal's reason as soon as it is aborted; what the promise stands for goes on. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** A pause that doubles with each failure up to a longest one, with up to half of it left to chance. */
export function backoff(failures: number, longest: number, rhythm: Rhythm): number {
  return Math.min(longest, 100 * 2 ** (failures - 1)) * (0.5 + rhythm.random() / 2);
}
