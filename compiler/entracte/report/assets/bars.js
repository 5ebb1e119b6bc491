// Bars of a lane: their shapes, what is written on them, what they tell.
/** The lanes of a run that is shown, `k` of them from above. */
function barSeries(timeline, run, k) {
  const bars = timeline.seen[k];
  return {
    id: k ? `bars${k}` : 'bars', type: 'custom', xAxisIndex: k, yAxisIndex: k, clip: true, encode: { x: [0, 1], y: 2 },
    data: bars.map((b) => [b.start * run.scale, b.end * run.scale, b.lane === 'load' ? 0 : 1]),
    renderItem: (params, api) => drawBar(bars[params.dataIndex], params, api),
    tooltip: { formatter: (p) => tellBar(bars[p.dataIndex], timeline.otherOf(k)) },
  };
}

function drawBar(bar, params, api) {
  if (!bar) return null;
  const [left, middle] = api.coord([api.value(0), api.value(2)]);
  const [right] = api.coord([api.value(1), api.value(2)]);
  const high = api.size([0, 1])[1] * 0.72;
  const box = { x: left, y: middle - high / 2, width: Math.max(right - left, 1), height: high };
  const gap = box.width > 5 ? 1 : 0;
  const shape = vendor.graphic.clipRectByRect({ ...box, width: box.width - gap }, params.coordSys);
  if (!shape) return null;
  return { type: 'group', children: [...fillOf(bar, shape), ...markOf(bar, shape), nameOn(bar, shape)] };
}

function fillOf(bar, shape) {
  const stage = stageColour(bar.chunk.colour);
  const r = shape.width > 6 ? 3 : 0;
  if (bar.lane === 'wait') return [{ type: 'rect', shape: { ...shape, r }, style: stallStyle() }];
  if (!bar.joined) return [{ type: 'rect', shape: { ...shape, r }, style: { fill: stage } }];
  // The part of the height that is filled is the part of the time that is busy.
  const busy = shape.height * bar.busy;
  const rest = bar.lane === 'compute' ? stallStyle() : { fill: stage, opacity: 0.18 };
  return [
    { type: 'rect', shape: { ...shape, height: shape.height - busy }, style: rest },
    { type: 'rect', shape: { ...shape, y: shape.y + shape.height - busy, height: busy }, style: { fill: stage } },
  ];
}

/** Chunks that were looked for and found. */
const marked = new Set();

/** A line under a bar of a chunk that was looked for, or of some that were. */
function markOf(bar, shape) {
  const chunks = bar.joined ? [...bar.seconds.keys()] : [bar.chunk];
  if (isPrinting || !chunks.some((chunk) => marked.has(chunk.id))) return [];
  const below = { x: shape.x, y: shape.y + shape.height + 1.5, width: shape.width, height: 4 };
  return [{ type: 'rect', silent: true, info: 'found', shape: below, style: { fill: colour('--found') } }];
}

function nameOn(bar, shape) {
  const faint = bar.lane === 'wait' || (bar.joined && bar.busy < 0.62);
  return {
    type: 'text', silent: true,
    style: { text: longestThatFits(namesOf(bar), shape.width - 10), x: shape.x + 6, y: shape.y + shape.height / 2, verticalAlign: 'middle',
      fontSize: 11.5, fontFamily: fontOfPage(), fill: faint ? colour('--ink') : inkOn(stageColour(bar.chunk.colour)),
      ...(faint ? { stroke: colour('--card'), lineWidth: 3 } : {}) },
  };
}

/** `other`: the run that is shown beside the bar's own, or null. */
function tellBar(bar, other) {
  if (!bar) return '';
  const when = `${formatSeconds(bar.start)} to ${formatSeconds(bar.end)}`;
  const took = formatSeconds(bar.end - bar.start);
  const step = stepOf(bar);
  if (bar.joined) return tellJoined(bar, took, when);
  const beside = tellOther(bar, other);
  if (bar.lane === 'wait') return tipBox(`waits for ${bar.chunk.id}`, `${took}, ${when}`, `Why: ${bar.why}.`, step, beside);
  const { holds } = bar.chunk;
  if (bar.lane === 'load') return tipBox(`load ${bar.chunk.id}`, holds, `${formatBytes(bar.size)} in ${took}`, when, step && `for ${step}`, beside);
  return tipBox(bar.chunk.id, holds, `runs ${took}`, when, `activations ${formatBytes(bar.chunk.activation_bytes)}`, step, beside);
}

function tellJoined(bar, took, when) {
  const busy = formatSeconds(bar.done);
  const what = bar.lane === 'load' ? `${bar.count} loads, ${formatBytes(bar.size)}, ${busy} of ${took}`
    : `${bar.count} calls, computing ${busy}, waiting ${formatSeconds(Math.max(0, bar.end - bar.start - bar.done))}`;
  return tipBox(bar.name, what, when, 'Select it to zoom in.');
}

/** The same call, load or wait in the run beside it: how long there, and how much later it began. */
function tellOther(bar, other) {
  if (!other) return '';
  const bars = { load: other.loads, compute: other.calls, wait: other.waits }[bar.lane];
  const same = bars.find((b) => b.chunk.id === bar.chunk.id && b.iteration === bar.iteration && b.part.name === bar.part.name);
  if (!same) return `${other.track.name}: none`;
  const late = same.start - bar.start;
  return `${other.track.name}: ${formatSeconds(same.end - same.start)}, begins ${formatSeconds(Math.abs(late))} ${late < 0 ? 'earlier' : 'later'}`;
}

/** What may be written on a bar, long to short. */
function namesOf(bar) {
  if (bar.lane === 'wait') return ['waits'];
  if (!bar.joined) return [bar.chunk.id, bar.chunk.alone ? bar.chunk.stage : bar.chunk.id.split('.').pop()];
  return bar.part.loop ? [bar.name, String(bar.iteration + 1)] : [bar.name];
}

/** About: text is measured by its length, and what does not fit is left out. */
const longestThatFits = (names, width) => names.find((name) => name.length * 6.6 <= width) ?? '';

function stepOf(bar) {
  const { part } = bar;
  return part.loop ? `iteration ${bar.iteration + 1} of ${part.count} of ${part.name}` : '';
}

/** Black or white, whichever is easier to read on a colour. */
function inkOn(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.3 ? '#14171a' : '#ffffff';
}

function stallStyle() {
  const stall = colour('--stall');
  return { fill: stall, opacity: 0.9, decal: { symbol: 'rect', dashArrayX: [1, 0], dashArrayY: [2, 3], rotation: -Math.PI / 4, color: `${colour('--card')}b0` } };
}
