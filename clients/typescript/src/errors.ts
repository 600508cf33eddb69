import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { milliseconds } from "./contract.js";
import type { MfaChallenge } from "./gen/greenroom/auth/v1/sign_in_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";

/** There is no session, or it has ended: log in again. */
export class SignedOut extends Error {
  override readonly name = "SignedOut";
}

/** The first factor was right, and the account has a second one: `Client.completeMfa` goes on with the challenge. */
export class SecondFactorNeeded extends Error {
  override readonly name = "SecondFactorNeeded";

  constructor(readonly challenge: MfaChallenge) {
    super("The account has a second factor; completeMfa goes on.");
  }
}

/** The stable reason, such as `AUTH_ERROR_REASON_BAD_CREDENTIALS`; empty when Greenroom gave none. */
export function reasonOf(error: unknown): string {
  return first(error, ErrorInfoSchema)?.reason ?? "";
}

/** What is wrong with which field, by the field's path. */
export function violationsOf(error: unknown): Record<string, string> {
  return Object.fromEntries(
    details(error, BadRequestSchema)
      .flatMap((bad) => bad.fieldViolations)
      .map((violation) => [violation.field, violation.description]),
  );
}

/** Milliseconds to wait before trying again, when the server says so. */
export function retryAfterOf(error: unknown): number | undefined {
  const info = first(error, RetryInfoSchema);
  return info && milliseconds(info.retryDelay);
}

/** The id that finds the call in the server's log; empty when Greenroom gave none. */
export function requestIdOf(error: unknown): string {
  return first(error, RequestInfoSchema)?.requestId ?? "";
}

/** Codes that a broken connection has, in browsers and in Node. */
const BROKEN = new Set([Code.Unknown, Code.Internal, Code.Aborted, Code.Canceled]);

/** Whether the way to the server is broken, or the server cannot serve anything now. */
export function isUnreachable(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  // Greenroom gives each of its errors a reason: one without comes from the way there.
  return error.code === Code.Unavailable || (BROKEN.has(error.code) && reasonOf(error) === "");
}

function first<D extends DescMessage>(error: unknown, kind: D): MessageShape<D> | undefined {
  return details(error, kind)[0];
}

function details<D extends DescMessage>(error: unknown, kind: D): MessageShape<D>[] {
  return error instanceof ConnectError ? error.findDetails(kind) : [];
}
