// How names are shown, as the table has it that the server's rules must follow, too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { hue, initial, shown } from "../../../static/names.js";

const cases = JSON.parse(readFileSync(new URL("../../contract/names.json", import.meta.url)));

for (const { name, ...wanted } of cases)
  test(`the name ${JSON.stringify(name)}`, () => {
    assert.deepEqual({ shown: shown(name), initial: initial(shown(name)), hue: hue(name) }, wanted);
  });
