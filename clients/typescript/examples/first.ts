import { connect, newId } from "@greenroom/client";

const [email = "", password = "", otherId = ""] = process.argv.slice(2);
const client = connect({ baseUrl: process.env["GREENROOM_URL"] ?? "http://127.0.0.1:8080" });
const { user } = await client.logIn({ email, password });
const { channel } = await client.channels.getDirectChannel({ userId: otherId });
await client.messages.sendMessage({ channelId: channel!.id, clientId: newId(), text: "Hello!" });
for await (const { payload } of client.watch({ cursors: [{ channelId: channel!.id, seq: 0n }] })) {
  if (payload.case !== "message") continue;
  console.log(payload.value.senderId === user?.id ? "I said:" : "They said:", payload.value.text);
  if (payload.value.text === "Bye!") break;
}
client.close();
