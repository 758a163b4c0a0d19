#!/usr/bin/env node
// The other end of a journey: takes a snapshot that settled has dumped, lets the real XState take one event, and sends
// back what XState persists. JSON lines in, JSON lines out: {"config", "snapshot"?, "event"?, "input"?}; without a
// snapshot the machine is started. With `family`, the machine is
// the one below, which has a machine as its child.
import { createInterface } from 'node:readline';
import * as X from 'xstate';
import { makeOracle } from './oracle.mjs';

console.warn = () => {};
console.error = () => {};
const { buildMachine } = makeOracle(X);

const child = X.setup({
  actions: { note: X.assign({ heard: ({ context, event }) => [...context.heard, event.type] }) }
}).createMachine({
  id: 'child',
  context: { heard: [] },
  initial: 'idle',
  states: { idle: { on: { PING: { target: 'pinged', actions: 'note' } } }, pinged: { on: { PING: { actions: 'note' } } } }
});
const family = X.setup({ actors: { child } }).createMachine({
  id: 'parent',
  initial: 'alone',
  states: {
    alone: { on: { MARRY: 'together' } },
    together: {
      invoke: { id: 'kid', src: 'child', systemId: 'the-kid' },
      on: { PING: { actions: X.sendTo('kid', { type: 'PING' }) } }
    }
  }
});

function live(snapshot, event) {
  // A family is moved by its live actors: what one sends to another arrives.
  const actor = X.createActor(family, snapshot ? { snapshot } : {}).start();
  if (event) actor.send(event);
  return actor.getPersistedSnapshot();
}

function pure({ config, snapshot, event, input }) {
  const machine = buildMachine(config);
  if (!snapshot) return machine.getPersistedSnapshot(X.initialTransition(machine, input)[0]);
  const restored = X.createActor(machine, { snapshot }).getSnapshot();
  return machine.getPersistedSnapshot(event ? X.transition(machine, restored, event)[0] : restored);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = request.family ? live(request.snapshot, request.event) : pure(request);
  process.stdout.write(JSON.stringify(answer) + '\n');
}
