// What is in memory when: sums, layers of the picture, and names.
const KIND_COLOURS = { resident: '--k-resident', tensors: '--k-tensors', activations: '--k-activations', loading: '--k-loading' };
const [LOADED] = DATA.kinds;
const KIND_NAMES = { resident: 'chunks loaded', tensors: 'tensors', activations: 'activations', loading: 'being loaded' };

function memoryOf(track) {
  const at = undo(track.memory.at).map((t) => t * track.tick_s);
  const kinds = track.memory.kinds.map((series) => undo(series).map((v) => v * track.memory.unit_bytes));
  const sums = at.map((_, i) => kinds.reduce((sum, series) => sum + series[i], 0));
  return { at, kinds, sums };
}

/** The last change at or before a moment; -1 before all. */
function indexAt(at, moment) {
  let low = 0;
  let high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] <= moment) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const MOST_POINTS = 900;

/** Which changes to draw in a window: all, or the largest of each of so many stretches. */
function pointsIn(memory, from, to) {
  const first = Math.max(0, indexAt(memory.at, from));
  const last = Math.min(memory.at.length - 1, indexAt(memory.at, to) + 1);
  if (last - first <= MOST_POINTS) return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const best = new Map();
  for (let i = first; i <= last; i += 1) {
    const slot = Math.floor(((memory.at[i] - from) / (to - from)) * MOST_POINTS);
    const other = best.get(slot);
    if (other === undefined || memory.sums[i] > memory.sums[other]) best.set(slot, i);
  }
  return [...best.values()].sort((a, b) => a - b);
}

/** What of a chunk's weights is in memory, over time. */
function heldOf(track, chunk, { at, sizes }) {
  return { chunk, at: undo(at).map((t) => t * track.tick_s), sizes: undo(sizes).map((v) => v * track.memory.unit_bytes) };
}

function heldAt({ at, sizes }, moment) {
  const index = indexAt(at, moment);
  return index < 0 ? 0 : sizes[index];
}

/** The bar of a lane, whose bars follow each other, at a moment. */
function barAt(bars, moment) {
  const bar = bars[indexAt(bars.map((b) => b.start), moment)];
  return bar && moment < bar.end ? bar : null;
}

/** What memory consists of at one of its changes, by name, largest first. */
function partsAt(run, index) {
  const moment = run.memory.at[index];
  const [, tensors, activations] = run.memory.kinds.map((series) => series[index]);
  const loading = barAt(run.loads, moment)?.chunk;
  const parts = run.held.map(({ chunk, ...held }) => ({
    kind: chunk === loading ? 'loading' : LOADED, bytes: heldAt(held, moment), holds: chunk.holds,
    name: `${chunk === loading ? 'loading ' : ''}${chunk.id}`,
  }));
  const running = barAt(run.calls, moment);
  parts.push({ kind: 'activations', bytes: activations, name: `activations of ${running?.chunk.id ?? 'the call'}`, holds: '' });
  parts.push({ kind: 'tensors', bytes: tensors, name: 'tensors', holds: '' });
  return parts.filter((p) => p.bytes > 0).sort((a, b) => b.bytes - a.bytes);
}

/** The layers of the picture of memory, from below: name, colour, and bytes at each change. */
function layersOf(run, view) {
  const byKind = DATA.kinds.map((kind, k) => ({ id: kind, kind, at: (i) => run.memory.kinds[k][i] }));
  if (view === 'kind') return byKind;
  const groups = new Map();
  for (const held of run.held) {
    const id = view === 'stage' ? held.chunk.stage : held.chunk.id;
    if (!groups.has(id)) groups.set(id, { id: `held ${id}`, colour: held.chunk.colour, held: [] });
    groups.get(id).held.push(held);
  }
  const sum = (helds, moment) => helds.reduce((all, held) => all + heldAt(held, moment), 0);
  const held = [...groups.values()].map((group) => ({ ...group, at: (i) => sum(group.held, run.memory.at[i]) }));
  return [...held, ...byKind.filter((layer) => layer.kind === 'tensors' || layer.kind === 'activations')];
}

const MOST_PARTS = 8;
const MOST_NAMED = 4;

/** A line of a list of what is in memory; what a chunk holds stands below its name. */
function partLine(kind, name, bytes, holds) {
  return make('li', {}, make('span', { class: 'dot', '--c': `var(${KIND_COLOURS[kind]})` }),
    make('span', {}, name, ...(holds ? [make('small', {}, holds)] : [])), make('span', {}, formatBytes(bytes)));
}

/** Beside the cursor: what memory holds at that moment, by name. */
function tellNames({ run, element }, index, when, x, y) {
  const box = $('#at-cursor');
  const parts = partsAt(run, index);
  const rest = parts.slice(MOST_PARTS);
  const lines = parts.slice(0, MOST_PARTS).map((p) => partLine(p.kind, p.name, p.bytes, p.holds));
  if (rest.length) lines.push(partLine(LOADED, `${rest.length} more`, rest.reduce((sum, p) => sum + p.bytes, 0)));
  box.replaceChildren(make('b', {}, `${formatBytes(run.memory.sums[index])} ${when}`), make('ol', {}, ...lines));
  box.hidden = false;
  const room = element.clientWidth;
  const left = x < room / 2 ? x + 16 : x - 16 - box.offsetWidth;
  box.style.left = `${Math.max(0, Math.min(left, room - box.offsetWidth))}px`;
  // Above the cursor where there is no room below it.
  const isLow = element.getBoundingClientRect().top + y + 18 + box.offsetHeight > innerHeight;
  box.style.top = `${isLow ? y - 18 - box.offsetHeight : y + 18}px`;
}

/** The same as text: the largest few. */
function namesAt(run, index) {
  const named = partsAt(run, index);
  const shown = named.slice(0, MOST_NAMED).map((p) => `${p.name} ${formatBytes(p.bytes)}`);
  if (named.length > MOST_NAMED) shown.push(`${named.length - MOST_NAMED} more`);
  return shown.join(', ');
}
