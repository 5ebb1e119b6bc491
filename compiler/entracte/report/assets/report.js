// The report: parts are put together, controls are connected.
const runs = DATA.tracks.map(runOf);
const timeline = new Timeline($('#lanes'), runs);
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
  timeline.setWindow(...windowOfStep(steps.loop, steps.at));
}

function showControls() {
  const { track } = timeline.run;
  $('#windows').replaceChildren(...track.windows.map((w) => pressable(w.name, () => timeline.setWindow(w.start_s, w.end_s))));
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
  const { from, to, run } = timeline;
  const close = (a, b) => Math.abs(a - b) < 1e-6 * timeline.end;
  const named = run.track.windows.find((w) => close(w.start_s, from) && close(w.end_s, to));
  [...$('#windows').children].forEach((button, i) => {
    button.setAttribute('aria-pressed', String(run.track.windows[i] === named));
  });
  followStep(from, to, close);
  const step = 10 ** Math.floor(Math.log10((to - from) / 100));
  const names = run.track.loops.flatMap((loop) => stepsIn(loop, from, to));
  $('#status').textContent = `${formatMoment(from, step, to)} to ${formatMoment(to, step, to)}, ${formatSeconds(to - from)}`
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
  const slack = 1e-6 * timeline.end;
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
  $('#bars').replaceChildren(...[...timeline.bars].sort((a, b) => a.start - b.start).map((bar) => make('tr', {},
    make('td', { class: 't' }, kinds[bar.lane]), make('td', { class: 't' }, bar.joined ? bar.name : bar.chunk.id),
    make('td', { class: 'n' }, formatSeconds(bar.start)), make('td', { class: 'n' }, formatSeconds(bar.end - bar.start)),
    make('td', { class: 't wrap' }, bar.why ?? (bar.lane === 'load' ? formatBytes(bar.size) : stepOf(bar))))));
  labelCells($('#bars-box table'));
}

function tellPeak() {
  const { peak, name } = timeline.run.track;
  $('#peak-box').replaceChildren();
  if (!peak) return;
  const names = { resident: '', tensors: 'tensors', activations: 'activations of ', loading: 'loading ' };
  const shown = peak.parts.slice(0, MOST_PARTS).map(([what, kind, bytes]) => [`${names[kind]}${what}`, kind, bytes,
    kind === 'resident' || kind === 'loading' ? chunkOf.get(what)?.holds : '']);
  const rest = peak.parts.slice(MOST_PARTS);
  if (rest.length) shown.push([`${rest.length} more`, 'resident', rest.reduce((sum, part) => sum + part[2], 0)]);
  $('#peak-box').append(make('div', { class: 'peak' },
    make('h3', {}, `${name}: ${timeline.run === runs[0] ? 'peak' : 'at most'} ${formatBytes(peak.total_bytes)} at ${formatSeconds(peak.at_s)}`),
    make('ol', {}, ...shown.map(([what, kind, bytes, holds]) => partLine(kind, what, bytes, holds)))));
}

function chooseRun(index) {
  timeline.show(index);
  timeline.draw();
  showControls();
  tellPeak();
  tellWindow();
  [...$('#tracks').children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === index)));
}

if (runs.length > 1) $('#tracks').append(...runs.map((run, i) => pressable(run.track.name, () => chooseRun(i))));
const VIEWS = [['kind', 'By kind'], ['stage', 'By stage'], ['chunk', 'By chunk']];

function chooseView(view) {
  timeline.view = view;
  timeline.draw();
  [...$('#views').children].forEach((button, i) => button.setAttribute('aria-pressed', String(VIEWS[i][0] === view)));
  for (const item of document.querySelectorAll('[data-kind]')) item.hidden = view !== 'kind';
}

$('#views').append(...VIEWS.map(([view, name]) => pressable(name, () => chooseView(view), { 'aria-pressed': String(view === 'kind') })));
timeline.onStep = (by) => goToStep(steps.at + by);
timeline.onChange(tellWindow);
chooseRun(0);
$('#loop').addEventListener('change', (event) => chooseLoop(Number(event.target.value)));
$('#step').addEventListener('change', (event) => goToStep(Number(event.target.value) - 1 || 0));
$('#step-back').addEventListener('click', () => goToStep(steps.at - 1));
$('#step-on').addEventListener('click', () => goToStep(steps.at + 1));
$('#zoom-in').addEventListener('click', () => timeline.zoomBy(0.5));
$('#zoom-out').addEventListener('click', () => timeline.zoomBy(2));
$('#bars-box').addEventListener('toggle', tellWindow);
$('#open-all').addEventListener('click', () => openStages(true));
$('#close-all').addEventListener('click', () => openStages(false));
$('#diagram-out').addEventListener('click', () => zoomDiagram(1 / ZOOM));
$('#diagram-in').addEventListener('click', () => zoomDiagram(ZOOM));
$('#diagram-fit').addEventListener('click', () => zoomDiagram(null));
$('.diagram').addEventListener('wheel', onDiagramWheel, { passive: false });
filterRows($('#filter'), $('#chunk-table'), $('#found'));
drawPolicies();
drawErrors();
layoutDiagram();
addEventListener('resize', () => {
  clearTimeout(steps.timer);
  steps.timer = setTimeout(() => {
    layoutDiagram();
    timeline.draw();
  }, 150);
});
