// Runs the machines in machines/*.json on the real XState, one round for each line of stdin.
//
//   transition  xstate's public, pure transition()
//   step        the same macrostep without the inert actor that transition() makes on every call
//   cycle       what a stateless worker does: parse, restore, transition, persist, stringify
//   final       the state after the events, for a comparison
//
// The implementations are those of implementations.py, written as one would by hand.
import * as X from 'xstate';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

console.warn = () => {};
const here = new URL('.', import.meta.url);
const read = (path) => JSON.parse(readFileSync(new URL(path, here)));

const guards = {
  ctxGte: ({ context }, p) => context[p.key] >= p.value,
  ctxLt: ({ context }, p) => context[p.key] < p.value,
  evEq: ({ event }, p) => event[p.key] === p.value
};

const listed = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);

function guard(config) {
  if (config?.type === 'and') return X.and(config.params.guards.map(guard));
  if (config?.type === 'not') return X.not(guard(config.params.guard));
  return config;
}

function action(config) {
  const p = config.params;
  if (config.type === 'inc') return X.assign({ [p.key]: ({ context }) => context[p.key] + p.by });
  if (config.type === 'assign') return X.assign({ [p.key]: ({ event }) => event[p.value.$ev] ?? null });
  return config;
}

function transition(config) {
  if (typeof config === 'string') return config;
  return { ...config, guard: guard(config.guard), actions: listed(config.actions).map(action) };
}

function node(config) {
  const mapped = (record, map) => Object.fromEntries(Object.entries(record ?? {}).map(([k, v]) => [k, map(v)]));
  return {
    ...config,
    entry: listed(config.entry).map(action),
    exit: listed(config.exit).map(action),
    on: mapped(config.on, (several) => listed(several).map(transition)),
    ...(config.states && { states: mapped(config.states, node) })
  };
}

function load(name) {
  const { config, events } = read(`machines/${name}.json`);
  return { machine: X.setup({ guards }).createMachine(node(config)), events };
}

const machines = {};
const named = (name) => (machines[name] ??= load(name));

function inertScope(machine) {
  const self = X.createActor(machine);
  const nothing = () => {};
  return {
    self, system: self.system, id: '', sessionId: '',
    defer: nothing, logger: nothing, stopChild: nothing, emit: nothing, actionExecutor: nothing
  };
}

const runs = {
  transition({ machine, events }, n) {
    let [snapshot] = X.initialTransition(machine);
    for (let i = 0; i < n; i++) [snapshot] = X.transition(machine, snapshot, events[i % events.length]);
    return snapshot;
  },
  step({ machine, events }, n) {
    let [snapshot] = X.initialTransition(machine);
    const scope = inertScope(machine);
    for (let i = 0; i < n; i++) {
      const actions = [];
      scope.actionExecutor = (each) => actions.push(each);
      snapshot = machine.transition(snapshot, events[i % events.length], scope);
    }
    return snapshot;
  },
  cycle({ machine, events }, n) {
    let text = JSON.stringify(machine.getPersistedSnapshot(X.initialTransition(machine)[0]));
    for (let i = 0; i < n; i++) {
      const restored = X.createActor(machine, { snapshot: JSON.parse(text) }).getSnapshot();
      const [snapshot] = X.transition(machine, restored, events[i % events.length]);
      text = JSON.stringify(machine.getPersistedSnapshot(snapshot));
    }
    return text;
  }
};

function timed(run, n) {
  const cpu = process.cpuUsage();
  const wall = process.hrtime.bigint();
  run(n);
  const { user, system } = process.cpuUsage(cpu);
  return { cpu: (user + system) / n, wall: Number(process.hrtime.bigint() - wall) / 1e3 / n };
}

function answer({ machine, measure, events }) {
  if (measure === 'versions') return { node: process.version, xstate: read('node_modules/xstate/package.json').version };
  if (measure === 'final') {
    const { value, context } = runs.transition(named(machine), events);
    return { value, context };
  }
  return timed((n) => runs[measure](named(machine), n), events);
}

if (process.argv[2] === 'cold') {
  X.initialTransition(named('flat3').machine);
  delete machines.flat3;
  const { cpu } = timed(() => {
    const { machine, events } = named(process.argv[3]);
    X.transition(machine, X.initialTransition(machine)[0], events[0]);
  }, 1);
  console.log(cpu / 1e3);
} else {
  for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(JSON.parse(line))));
}
