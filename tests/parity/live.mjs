#!/usr/bin/env node
// The real XState, alive: actors run, timers ring and functions answer, on a clock of their own.
//
// JSON lines in, JSON lines out. A case is {"id", "config", "input"?, "machines": {src: config}, "functions": {src: {"after":
// milliseconds, "output" | "error"}}, "steps": [{"wait": milliseconds} | {"send": event}]}, in the vocabulary of
// `oracle.mjs`. A function without `after` never answers.
//
// After the start and after each step time passes until no function runs any more. Then, by the actor's path (the ids from
// the root down, and which actor of that id it is): what each actor is (`actors`), which events it has taken (`events`),
// and what it has performed (`actions`). `raised` is the path of the actor whose own logic has raised: there a case ends.
// `stuck` is one that does not come to rest.
import { createInterface } from 'node:readline';
import * as X from 'xstate';
import { makeOracle } from './oracle.mjs';

const MOST_RINGS = 100;
const MOST_EVENTS = 200;
const { buildMachine, normError } = makeOracle(X);
const clone = (v) => (v === undefined ? undefined : JSON.parse(JSON.stringify(v)));
const breathe = () => new Promise((resolve) => setImmediate(resolve));

class Clock {
  now = 0;
  #last = 0;
  #timers = new Map();
  setTimeout(ring, delay) {
    this.#timers.set(++this.#last, { ring, due: this.now + Math.max(0, delay) });
    return this.#last;
  }
  clearTimeout(id) {
    this.#timers.delete(id);
  }
  /** The timers in the order in which they ring. */
  next() {
    return [...this.#timers].sort(([a, x], [b, y]) => x.due - y.due || a - b)[0];
  }
  ring() {
    const [id, { ring, due }] = this.next();
    this.#timers.delete(id);
    this.now = due;
    ring();
  }
}

async function play(c) {
  const clock = new Clock();
  const names = new Map(); // by session, for each actor that has started
  const counts = new Map();
  const running = new Set();
  let log, raised, taken;

  const path = (ref) => {
    if (!ref._parent) return 'root';
    if (!names.has(ref.sessionId)) {
      const plain = `${path(ref._parent)}/${ref.id}`;
      counts.set(plain, (counts.get(plain) ?? 0) + 1);
      names.set(ref.sessionId, `${plain}#${counts.get(plain)}`);
    }
    return names.get(ref.sessionId);
  };
  const note = (kind, ref, what) => (log[kind][path(ref)] ??= []).push(clone(what));

  /** A machine that notes which events its actors take, and whether that raises. */
  const watched = (config, known) => {
    const machine = buildMachine(config, known);
    const provide = machine.transition.bind(machine);
    machine.transition = (snapshot, event, scope) => {
      if (!event.type.startsWith('xstate.stop')) note('events', scope.self, visible(event));
      // Actors that answer one another for ever are held up; the case does not count.
      if (++taken > MOST_EVENTS) return snapshot;
      try {
        return provide(snapshot, event, scope);
      } catch (error) {
        raised ??= path(scope.self);
        throw error;
      }
    };
    return machine;
  };
  const answering = ({ after, output, error }) =>
    X.fromPromise(({ signal }) => {
      const ends = new Promise((resolve, reject) => {
        running.add(signal);
        const over = () => running.delete(signal);
        signal.addEventListener('abort', over);
        if (after === undefined) return;
        clock.setTimeout(() => {
          over();
          error === undefined ? resolve(output) : reject(error);
        }, after);
      });
      return ends;
    });
  const actors = {};
  for (const [src, script] of Object.entries(c.functions ?? {})) actors[src] = answering(script);
  for (const [src, config] of Object.entries(c.machines ?? {})) actors[src] = watched(config, actors);

  const inspect = (seen) => {
    if (seen.type === '@xstate.event' && seen.event.type === 'xstate.init') path(seen.actorRef);
    if (seen.type !== '@xstate.action') return;
    const { type, params } = seen.action;
    const shown = { 'xstate.emit': params?.event, 'xstate.log': { value: params?.value, label: params?.label } };
    if (!type.startsWith('xstate.')) note('actions', seen.actorRef, [type, params]);
    else if (type in shown) note('actions', seen.actorRef, [type, shown[type]]);
  };

  async function rest() {
    await breathe();
    for (let rings = 0; !raised && (running.size || clock.next()?.[1].due <= clock.now); rings++) {
      if (!clock.next() || rings > MOST_RINGS) return false;
      clock.ring();
      await breathe();
    }
    return true;
  }
  async function wait(milliseconds) {
    const until = clock.now + milliseconds;
    for (let rings = 0; clock.next()?.[1].due <= until && !raised; rings++) {
      if (rings > MOST_RINGS) return false;
      clock.ring();
      await breathe();
    }
    clock.now = Math.max(clock.now, until);
    return true;
  }

  const steps = [];
  const step = async (act) => {
    [log, taken] = [{ events: {}, actions: {} }, 0];
    const isResting = (await act()) !== false && (await rest()) && taken <= MOST_EVENTS;
    if (!isResting) return { stuck: true };
    return raised ? { raised, at: clock.now } : { at: clock.now, actors: seen(actor, path), ...log };
  };
  log = { events: {}, actions: {} };
  const actor = X.createActor(watched(c.config, actors), { clock, inspect, input: clone(c.input), logger: () => {} });
  actor.subscribe({ error: () => {} });
  steps.push(await step(() => void actor.start()));
  for (const { wait: milliseconds, send } of c.steps) {
    if (steps.at(-1).stuck || steps.at(-1).raised) break;
    steps.push(await step(() => (send ? void actor.send(clone(send)) : wait(milliseconds))));
  }
  return { steps };
}

/** What an event holds, but for a snapshot, which is alive. */
function visible(event) {
  return event.snapshot ? { type: event.type, value: event.snapshot.value } : event;
}

/** The actor and the machines below it that still run. */
function seen(actor, path) {
  const snapshot = actor.getSnapshot();
  const view = { value: snapshot.value, context: snapshot.context, status: snapshot.status, children: {} };
  if (snapshot.output !== undefined) view.output = snapshot.output;
  if (snapshot.status === 'error') view.error = normError(snapshot.error);
  let all = { [path(actor)]: view };
  for (const [id, child] of Object.entries(snapshot.children ?? {})) {
    if (!child) continue;
    const { status } = child.getSnapshot();
    view.children[id] = status;
    if (status === 'active' && 'machine' in child.getSnapshot()) all = { ...all, ...seen(child, path) };
  }
  return clone(all);
}

console.warn = () => {};
console.error = () => {};
process.on('uncaughtException', () => {}); // XState reports what nobody has listened to
for await (const line of createInterface({ input: process.stdin })) {
  if (!line.trim()) continue;
  const c = JSON.parse(line);
  let answer;
  try {
    answer = await play(c);
  } catch (error) {
    answer = { invalid: normError(error) };
  }
  process.stdout.write(JSON.stringify({ id: c.id, ...answer }) + '\n');
}
