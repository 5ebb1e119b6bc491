// A run's columns as bars, and the same bars joined: by stage and iteration, by segment.
const undo = (column) => {
  let sum = 0;
  return column.map((difference) => (sum += difference));
};

/** The plan that a run is of: its chunks and segments. Two plans on a page have their own. */
const planOf = (track) => DATA.plans?.[track.plan] ?? DATA;

for (const { chunks } of DATA.plans ?? [DATA]) {
  for (const chunk of chunks) chunk.alone = chunks.filter((c) => c.stage === chunk.stage).length === 1;
}

function barsOf(track, columns, lane) {
  const starts = undo(columns.starts);
  const { chunks, segments } = planOf(track);
  return starts.map((start, i) => {
    const chunk = chunks[columns.chunks[i]];
    return {
      lane, chunk, segment: columns.segments[i], iteration: columns.iterations[i], part: segments[columns.segments[i]],
      start: start * track.tick_s, end: (start + columns.spans[i]) * track.tick_s,
      size: columns.sizes[i] ?? chunk.weight_bytes,
      why: lane === 'wait' ? track.sentences[columns.whys[i]] : null,
    };
  });
}

/** Everything a run's picture needs. `levels`: bars, fine to coarse. */
function runOf(track) {
  const loads = barsOf(track, track.loads, 'load');
  const calls = barsOf(track, track.calls, 'compute');
  const waits = barsOf(track, track.waits, 'wait');
  const computing = [...calls, ...waits].sort((a, b) => a.start - b.start);
  const byIteration = (b) => `${b.chunk.stage} ${b.segment} ${b.iteration}`;
  const bySegment = (b) => `${b.segment}`;
  return {
    track,
    levels: [
      [...loads, ...computing],
      [...joined(loads, byIteration, nameOfIteration), ...joined(computing, byIteration, nameOfIteration)],
      [...joined(loads, bySegment, nameOfSegment), ...joined(computing, bySegment, nameOfSegment)],
    ],
    loads,
    calls,
    waits,
    scale: 1,
    memory: memoryOf(track),
    held: planOf(track).chunks.map((chunk, i) => heldOf(track, chunk, track.held[i])),
  };
}

function nameOfIteration(bar) {
  return bar.part.loop ? `${bar.chunk.stage} · iteration ${bar.iteration + 1}` : bar.chunk.stage;
}

/** Of the coarsest level, where a bar is a whole loop. */
function nameOfSegment(bar) {
  const { part } = bar;
  return part.loop ? `${part.name} × ${part.count}` : part.name;
}

/** Neighbours with one key become one bar; `busy` is the share of it that is no waiting. */
function joined(bars, keyOf, nameOf) {
  const result = [];
  let last = null;
  for (const bar of bars) {
    const key = keyOf(bar);
    if (last === null || last.key !== key) {
      last = { ...bar, key, joined: true, name: nameOf(bar), count: 0, done: 0, size: 0, seconds: new Map(),
        lane: bar.lane === 'wait' ? 'compute' : bar.lane };
      result.push(last);
    }
    last.end = Math.max(last.end, bar.end);
    if (bar.lane === 'wait') continue;
    const took = bar.end - bar.start;
    last.count += 1;
    last.done += took;
    last.size += bar.lane === 'load' ? bar.size : 0;
    last.seconds.set(bar.chunk, (last.seconds.get(bar.chunk) ?? 0) + took);
  }
  for (const bar of result) {
    bar.busy = bar.end > bar.start ? Math.min(1, bar.done / (bar.end - bar.start)) : 1;
    // The colour of what takes longest in it.
    const longest = [...bar.seconds].sort((a, b) => b[1] - a[1])[0];
    if (longest) [bar.chunk] = longest;
  }
  return result;
}

const MOST_BARS = 160;

/** The finest level, from `least` on, with few enough bars in a window of the axis, and those bars. */
function barsIn(run, from, to, least = 0) {
  let level = least;
  let bars = [];
  for (; level < run.levels.length; level += 1) {
    bars = run.levels[level].filter((b) => b.end * run.scale >= from && b.start * run.scale <= to);
    if (bars.length <= MOST_BARS) break;
  }
  return { level: Math.min(level, run.levels.length - 1), bars };
}
