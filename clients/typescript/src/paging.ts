import type { Message } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";

type Page = Message & { nextPageToken: string };
type List<Request, Response> = (request: Request, options?: CallOptions) => Promise<Response>;

/** What the one repeated message field of a List method's response holds. */
export type Resource<Response> = {
  [Name in Exclude<keyof Response, `$${string}`>]: Response[Name] extends (infer Item extends Message)[] ? Item : never;
}[Exclude<keyof Response, `$${string}`>];

/** Every page of a List method, from the request's own token on. */
export async function* pages<Request extends object, Response extends Page>(
  method: List<Request & { pageToken?: string }, Response>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<Response, void, undefined> {
  let reply = await method(request, options);
  yield reply;
  while (reply.nextPageToken !== "") {
    reply = await method({ ...request, pageToken: reply.nextPageToken }, options);
    yield reply;
  }
}

/** Every resource of a List method: what its response's one repeated message field holds. */
export async function* items<Request extends object, Response extends Page>(
  method: List<Request & { pageToken?: string }, Response>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<Resource<Response>, void, undefined> {
  for await (const reply of pages(method, request, options)) {
    yield* resources(reply);
  }
}

function resources<Response extends Page>(reply: Response): Resource<Response>[] {
  const lists = Object.entries(reply as Record<string, unknown>)
    .filter(([name, value]) => !name.startsWith("$") && Array.isArray(value))
    .map(([, value]) => value as { $typeName?: string }[])
    .filter((list) => list.length === 0 || list[0]?.$typeName !== undefined);
  if (lists.length !== 1) throw new TypeError(`${reply.$typeName} is not the response of a List method`);
  return lists[0] as Resource<Response>[];
}
