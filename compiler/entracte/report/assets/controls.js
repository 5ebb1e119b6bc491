// The controls of the picture of runs: which of them, which window, which iteration.
const runs = DATA.tracks.map(runOf);
const timeline = new Timeline($('#lanes'), runs);
/** What can be chosen: a run, or two on one axis. */
const CHOICES = DATA.choices;
let choice = 0;
const steps = { loop: null, at: 0 };

function pressable(name, act, more = {}) {
  return make('button', { type: 'button', onclick: act, ...more }, name);
}

/** The window of a loop's iteration: from the end of the one before to its own. */
function windowOfStep(loop, index) {
  return [index > 0 ? loop.ends_s[index - 1] : loop.start_s, loop.ends_s[index]];
}

function goToStep(index) {
  if (!steps.loop) return;
  steps.at = Math.max(0, Math.min(index, steps.loop.ends_s.length - 1));
  $('#step').value = String(steps.at + 1);
  const { scale } = timeline.run;
  timeline.setWindow(...windowOfStep(steps.loop, steps.at).map((at) => at * scale));
}

function showControls() {
  const { track, scale } = timeline.run;
  $('#windows').replaceChildren(...track.windows.map((w) => pressable(w.name, () => timeline.setWindow(w.start_s * scale, w.end_s * scale))));
  $('#steps').hidden = track.loops.length === 0;
  $('#loop').hidden = track.loops.length < 2;
  $('#loop').replaceChildren(...track.loops.map((loop, i) => make('option', { value: String(i) }, loop.name)));
  chooseLoop(0);
}

function chooseLoop(index) {
  steps.loop = timeline.run.track.loops[index] ?? null;
  const count = steps.loop?.ends_s.length ?? 0;
  steps.at = 0;
  $('#step').max = String(count);
  $('#step').value = '1';
  $('#step-count').textContent = `of ${count}`;
}

const LEVELS = ['each bar is a load or a call', 'each bar is a stage in one iteration; filled as far as it is busy; zoom in for chunks', 'each bar is a part of the program; zoom in for iterations'];

function tellWindow() {
  const { run } = timeline;
  const [from, to] = [timeline.from / run.scale, timeline.to / run.scale];
  const close = (a, b) => Math.abs(a - b) < 1e-6 * timeline.end / run.scale;
  const named = run.track.windows.find((w) => close(w.start_s, from) && close(w.end_s, to));
  [...$('#windows').children].forEach((button, i) => {
    button.setAttribute('aria-pressed', String(run.track.windows[i] === named));
  });
  followStep(from, to, close);
  const step = 10 ** Math.floor(Math.log10((timeline.to - timeline.from) / 100));
  const names = run.track.loops.flatMap((loop) => stepsIn(loop, from, to));
  const took = timeline.stretched ? '' : `, ${formatSeconds(to - from)}`;
  $('#status').textContent = `${timeline.moment(timeline.from, step)} to ${timeline.moment(timeline.to, step)}${took}`
    + `${names.length ? ` · ${names.join(', ')}` : ''} · ${LEVELS[timeline.level]}`;
  if ($('#bars-box').open) listBars();
}

/** A window that is an iteration of the chosen loop is told in the field, too. */
function followStep(from, to, close) {
  const at = (steps.loop?.ends_s ?? []).findIndex((_, i) => {
    const [start, end] = windowOfStep(steps.loop, i);
    return close(start, from) && close(end, to);
  });
  if (at < 0) return;
  steps.at = at;
  $('#step').value = String(at + 1);
}

function stepsIn(loop, from, to) {
  const slack = (1e-6 * timeline.end) / timeline.run.scale;
  const inside = loop.ends_s.flatMap((end, i) => {
    const [start] = windowOfStep(loop, i);
    return end > from + slack && start < to - slack ? [i + 1] : [];
  });
  if (!inside.length) return [];
  const last = inside[inside.length - 1];
  return [inside[0] === last ? `${loop.name} iteration ${last}` : `${loop.name} iterations ${inside[0]} to ${last}`];
}

function listBars() {
  const kinds = { load: 'load', compute: 'call', wait: 'wait' };
  const rows = timeline.seen.flatMap((bars, k) => bars.map((bar) => [bar, timeline.isBoth ? `, ${timeline.shown[k].track.name}` : '']));
  $('#bars').replaceChildren(...rows.sort(([a], [b]) => a.start - b.start).map(([bar, whose]) => make('tr', {},
    make('td', { class: 't' }, `${kinds[bar.lane]}${whose}`), make('td', { class: 't' }, bar.joined ? bar.name : bar.chunk.id),
    make('td', { class: 'n' }, formatSeconds(bar.start)), make('td', { class: 'n' }, formatSeconds(bar.end - bar.start)),
    make('td', { class: 't wrap' }, bar.why ?? (bar.lane === 'load' ? formatBytes(bar.size) : stepOf(bar))))));
  labelCells($('#bars-box table'));
}

function peakOf(run) {
  const { peak, name } = run.track;
  const chunks = new Map(planOf(run.track).chunks.map((c) => [c.id, c]));
  const names = { resident: '', tensors: 'tensors', activations: 'activations of ', loading: 'loading ' };
  const shown = peak.parts.slice(0, MOST_PARTS).map(([what, kind, bytes]) => [`${names[kind]}${what}`, kind, bytes,
    kind === 'resident' || kind === 'loading' ? chunks.get(what)?.holds : '']);
  const rest = peak.parts.slice(MOST_PARTS);
  if (rest.length) shown.push([`${rest.length} more`, 'resident', rest.reduce((sum, part) => sum + part[2], 0)]);
  return make('div', { class: 'peak' },
    make('h3', {}, `${name}: ${run.track.planned ? 'peak' : 'at most'} ${formatBytes(peak.total_bytes)} at ${formatSeconds(peak.at_s)}`),
    make('ol', {}, ...shown.map(([what, kind, bytes, holds]) => partLine(kind, what, bytes, holds))));
}

function tellPeak() {
  $('#peak-box').replaceChildren(...timeline.shown.filter((run) => run.track.peak).map(peakOf));
}

function choose(index, stretched = false) {
  choice = index;
  timeline.show(CHOICES[index].runs, stretched);
  timeline.draw();
  showControls();
  tellPeak();
  tellWindow();
  timeline.onShow?.();
  [...$('#tracks').children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === index)));
  [...$('#scales').children].forEach((button, i) => button.setAttribute('aria-pressed', String(Boolean(i) === stretched)));
  $('#scales').hidden = !timeline.isBoth;
  $('#views').hidden = timeline.isBoth;
  $('#memory-legend').hidden = timeline.isBoth;
  $('#run-legend').hidden = !timeline.isBoth;
  $('#run-legend').replaceChildren(...timeline.shown.map((run, k) => make('li', {},
    make('span', { class: `dot run-${k}`, '--c': `var(${k ? '--accent' : '--k-resident'})` }), `memory, ${run.track.name}`)));
}

const VIEWS = [['kind', 'By kind'], ['stage', 'By stage'], ['chunk', 'By chunk']];

function chooseView(view) {
  timeline.view = view;
  timeline.draw();
  [...$('#views').children].forEach((button, i) => button.setAttribute('aria-pressed', String(VIEWS[i][0] === view)));
  for (const item of document.querySelectorAll('[data-kind]')) item.hidden = view !== 'kind';
}

if (CHOICES.length > 1) $('#tracks').append(...CHOICES.map((c, i) => pressable(c.name, () => choose(i))));
$('#views').append(...VIEWS.map(([view, name]) => pressable(name, () => chooseView(view), { 'aria-pressed': String(view === 'kind') })));
$('#scales').append(pressable('Same seconds', () => choose(choice, false)), pressable('Each over the whole width', () => choose(choice, true)));
timeline.onStep = (by) => goToStep(steps.at + by);
timeline.onChange(tellWindow);
choose(0);
$('#loop').addEventListener('change', (event) => chooseLoop(Number(event.target.value)));
$('#step').addEventListener('change', (event) => goToStep(Number(event.target.value) - 1 || 0));
$('#step-back').addEventListener('click', () => goToStep(steps.at - 1));
$('#step-on').addEventListener('click', () => goToStep(steps.at + 1));
$('#zoom-in').addEventListener('click', () => timeline.zoomBy(0.5));
$('#zoom-out').addEventListener('click', () => timeline.zoomBy(2));
$('#bars-box').addEventListener('toggle', tellWindow);
addEventListener('resize', () => {
  clearTimeout(steps.timer);
  steps.timer = setTimeout(() => timeline.draw(), 150);
});
