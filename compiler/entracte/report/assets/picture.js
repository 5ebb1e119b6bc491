// The picture of memory: layers of one run, or lines of two, under the limits.
/** Of one run: what memory consists of, as layers. */
function memoryLayers(timeline) {
  const { run, view } = timeline;
  const { at } = run.memory;
  const points = pointsIn(run.memory, timeline.from, timeline.to);
  const sums = points.map(() => 0);
  const layers = layersOf(run, view).map((layer, k) => {
    const data = points.map((i, n) => [at[i], (sums[n] += layer.at(i))]);
    if (data.length) data.push([timeline.end, data[data.length - 1][1]]);
    return {
      id: `memory-${layer.id}`, type: 'line', xAxisIndex: 1, yAxisIndex: 1, step: 'end', symbol: 'none', silent: true, data, z: 10 - k / 1000,
      // Chunks of a stage have one colour: a line parts them.
      lineStyle: { width: view === 'chunk' && layer.held ? 1 : 0, color: colour('--card') },
      areaStyle: { color: layer.kind ? colour(KIND_COLOURS[layer.kind]) : stageColour(layer.colour), opacity: 1 },
    };
  });
  layers[0].markLine = limitLines(timeline);
  layers[layers.length - 1].markPoint = peakMark(run);
  return layers;
}

/** Of two runs: what each has in memory, the second as a line over the first. */
function memoryLines(timeline) {
  return timeline.shown.map((run, k) => {
    const points = pointsIn(run.memory, timeline.from / run.scale, timeline.to / run.scale);
    const data = points.map((i) => [run.memory.at[i] * run.scale, run.memory.sums[i]]);
    if (data.length) data.push([run.track.makespan_s * run.scale, data[data.length - 1][1]]);
    const ink = colour(k ? '--accent' : '--k-resident');
    return {
      id: `memory-${k}`, type: 'line', xAxisIndex: 2, yAxisIndex: 2, step: 'end', symbol: 'none', silent: true, data, z: 10 + k,
      lineStyle: { width: k ? 2 : 1, color: ink }, ...(k ? {} : { areaStyle: { color: ink, opacity: 0.35 } }),
      markPoint: peakMark(run), ...(k ? {} : { markLine: limitLines(timeline) }),
    };
  });
}

/** The lines of all runs that are shown, each once. */
function limitsOf({ shown }) {
  const all = shown.flatMap((run) => run.track.limits);
  return all.filter(([name, bytes], i) => all.findIndex(([n, b]) => n === name && b === bytes) === i);
}

const isBudget = ([name]) => name.startsWith('budget');

/** The top of the picture of memory: the budget, unless nearly all of it stays empty. */
function memoryLimit(timeline) {
  const limits = limitsOf(timeline);
  const most = (of) => of.reduce((a, [, bytes]) => Math.max(a, bytes), 0);
  const used = Math.max(most(limits.filter((l) => !isBudget(l))), ...timeline.shown.flatMap((run) => run.memory.sums.reduce((a, b) => Math.max(a, b), 0)));
  const budget = most(limits.filter(isBudget));
  return used < 0.25 * budget ? used * 1.2 : Math.max(used, budget);
}

const PLACES = ['insideStartTop', 'insideMiddleTop'];

function limitLines(timeline) {
  const limits = limitsOf(timeline);
  const top = memoryLimit(timeline);
  const budgets = limits.filter(isBudget);
  const others = limits.filter((l) => !isBudget(l));
  const near = (bytes) => budgets.some(([, b]) => Math.abs(b - bytes) < 0.12 * Math.max(b, bytes));
  const line = (bytes, told, is, dash, position) => ({
    yAxis: bytes, lineStyle: { color: colour(is ? '--stall' : '--ink'), type: dash, width: 1.4 },
    label: { formatter: told, position, color: colour('--ink'), fontSize: 11.5, textBorderColor: colour('--card'), textBorderWidth: 3 },
  });
  const ofBudget = ([name, bytes], i) => (bytes > top
    ? line(top, `${name} ${formatBytes(bytes)}, ${Math.round(bytes / top)} × this height`, true, 'dotted', PLACES[i % 2])
    : line(bytes, `${name} ${formatBytes(bytes)}`, true, 'solid', PLACES[i % 2]));
  const data = budgets.map(ofBudget);
  others.forEach(([name, bytes], i) => data.push(line(bytes, `${name} ${formatBytes(bytes)}`, false, 'dashed', (i + Number(near(bytes))) % 2 ? 'insideEndBottom' : 'insideEndTop')));
  return { symbol: 'none', silent: true, z: 20, data };
}

function peakMark(run) {
  const { peak } = run.track;
  return { symbol: 'circle', symbolSize: 9, silent: true, z: 30, itemStyle: { color: colour('--ink'), borderColor: colour('--card'), borderWidth: 2 },
    label: { show: false }, data: peak ? [{ coord: [peak.at_s * run.scale, peak.total_bytes] }] : [] };
}

/** Below the picture: what is in memory at a change of each run that is shown. */
function tellMemory({ shown }, at, when) {
  const readout = $('#readout');
  readout.replaceChildren();
  if (at[0] < 0) return;
  shown.forEach((run, r) => {
    const index = at[r];
    if (index < 0) return;
    const parts = DATA.kinds.map((kind, k) => `${KIND_NAMES[kind]} ${formatBytes(run.memory.kinds[k][index])}`);
    const name = shown.length > 1 ? `, ${run.track.name}` : '';
    readout.append(make('span', { class: 'sum' }, make('b', {}, `Memory ${when}${name}: ${formatBytes(run.memory.sums[index])}`), ` = ${parts.join(' + ')}`),
      make('span', { class: 'names' }, namesAt(run, index)));
  });
}
