import type { DescMethod } from "@bufbuild/protobuf";
import { getOption } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Access, Idempotency_Kind, idempotency, policy } from "./gen/greenroom/options/v1/policy_pb.js";

const DEFAULT_DEADLINE = 30_000;

/** What the protos say about a method, as far as a client acts on it. */
export interface MethodContract {
  /** A repeat does no harm. */
  readonly repeatable: boolean;
  /** The request carries an id that makes a repeat harmless. */
  readonly requestId: boolean;
  /** The method needs no caller. */
  readonly isPublic: boolean;
  /** Milliseconds that the server works on a call at most. */
  readonly deadline: number;
}

const known = new WeakMap<DescMethod, MethodContract>();

/** The contract of a method. */
export function contractOf(method: DescMethod): MethodContract {
  let contract = known.get(method);
  if (contract === undefined) {
    contract = read(method);
    known.set(method, contract);
  }
  return contract;
}

function read(method: DescMethod): MethodContract {
  const { access, deadline } = getOption(method, policy);
  const { kind } = getOption(method, idempotency);
  const isRead = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  const requestId = kind === Idempotency_Kind.REQUEST_ID;
  return {
    repeatable: isRead || requestId || kind === Idempotency_Kind.NATURAL,
    requestId,
    isPublic: access.length === 1 && access[0] === Access.PUBLIC,
    deadline: milliseconds(deadline) || DEFAULT_DEADLINE,
  };
}

/** A duration in milliseconds; 0 when there is none. */
export function milliseconds(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
