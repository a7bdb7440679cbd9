// The rule by which every client of ours takes a stream, tests/contract/stream_rule.json, by the page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Conversation } from "../../../static/conversation.js";

const table = JSON.parse(readFileSync(new URL("../../contract/stream_rule.json", import.meta.url)));

const message = (key, user) => ({
  from: "Ann",
  text: `text ${key}`,
  date: "2026-01-31T12:00:00.000Z",
  provisionalId: `00000000-0000-4000-8000-${String(key).padStart(12, "0")}`,
  user,
});
const numbers = (words) => (words.match(/\d+/g) ?? []).map(Number);

// A conversation, and what somebody who shows all that it tells has on the screen.
class Client {
  asked = null;
  messages = []; // official ones

  constructor(begins) {
    this.conversation = new Conversation(begins);
  }

  get official() {
    return this.messages.map(({ id }) => id);
  }

  get loose() {
    const shown = [...this.conversation.loose.values()].filter((row) => !row.withdrawn);
    return shown.map((row) => Number(row.message.provisionalId.slice(-12)));
  }

  take(type, data, id = "") {
    assert.equal(this.asked, null, "it wanted another stream");
    const told = this.conversation.take({ type, data: JSON.stringify(data), id: String(id) });
    if (told.kind === "gap") this.asked = this.conversation.last;
    if (told.kind === "official") {
      this.messages.push(told.message);
      if (told.message.removes) this.messages = this.messages.map((each) => this.conversation.left(each));
    }
    if (told.kind === "reset") this.messages = [];
    if (told.kind === "provisional") {
      if (told.instead) this.conversation.remove(told.instead);
      this.conversation.add({ message: told.message });
    }
  }

  step(step) {
    const [words, user] = step.split(" by ");
    const [verb, first, second, ...rest] = words.split(" ");
    if (verb === "shows") {
      const [official, loose = ""] = step.split("/");
      assert.deepEqual([this.official, this.loose], [numbers(official), numbers(loose)]);
    } else if (verb === "asks") {
      assert.equal(this.asked, Number(first));
      this.asked = null;
    } else if (verb === "cut") assert.equal(this.conversation.last, Number(first));
    else if (verb === "gone") {
      const gone = this.messages.filter(({ text, removed }) => removed && !text);
      assert.deepEqual(
        gone.map(({ id }) => id),
        numbers(step),
      );
    } else if (verb === "official") {
      const id = Number(first);
      const removed = { text: "", removed: Number(rest[0]) };
      const more = { removes: { removes: rest.map(Number) }, removed, erased: { ...removed, from: "[erased]" } };
      this.take("message", { id, ...message(second === "key" ? rest[0] : id, user), ...more[second] }, id);
    } else if (verb === "provisional") this.take("message", message(first, user));
    else if (verb === "retraction")
      this.take("retraction", { provisionalId: message(first).provisionalId, user });
    else if (verb === "reset") this.take("stream-reset", { reason: first, lastEventId: Number(second) }, rest[1]);
    else this.take({ open: "stream-open" }[verb] ?? verb, {});
  }
}

for (const { name, begins, steps } of table.cases)
  test(name, { skip: begins === null && "a page comes with its messages" }, () => {
    const client = new Client(begins);
    for (const step of steps) client.step(step);
    assert.equal(client.asked, null);
  });
