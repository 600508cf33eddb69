import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescService } from "@bufbuild/protobuf";
import { contractOf } from "../src/contract.js";
import { AuthService } from "../src/gen/greenroom/auth/v1/auth_service_pb.js";
import { SessionService } from "../src/gen/greenroom/auth/v1/session_service_pb.js";
import { ChannelService } from "../src/gen/greenroom/chat/v1/channel_service_pb.js";
import { EventService } from "../src/gen/greenroom/chat/v1/event_service_pb.js";
import { MessageService } from "../src/gen/greenroom/chat/v1/message_service_pb.js";

test("what a client acts on is read from the protos", () => {
  const everyDeadline = 30_000;
  assert.deepEqual(contractOf(AuthService.method.logIn), {
    repeatable: false,
    requestId: false,
    isPublic: true,
    deadline: everyDeadline,
  });
  assert.deepEqual(contractOf(AuthService.method.verifyEmail), {
    repeatable: true,
    requestId: true,
    isPublic: true,
    deadline: everyDeadline,
  });
  assert.deepEqual(contractOf(MessageService.method.sendMessage), {
    repeatable: true,
    requestId: false,
    isPublic: false,
    deadline: everyDeadline,
  });
});

test("every method that wants a request id has a field for it", () => {
  const services: DescService[] = [AuthService, SessionService, ChannelService, EventService, MessageService];
  for (const method of services.flatMap((service) => service.methods)) {
    if (contractOf(method).requestId) assert.ok(method.input.field["requestId"], method.name);
  }
});
