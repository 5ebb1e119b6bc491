// An area of the timeline: chosen by dragging, by keys or by its two fields; what is in it is summed.
const area = { from: null, to: null, isChoosing: false, began: null };

const hasArea = () => area.from !== null;
/** What the fields are in: seconds, or percent of the width where runs are stretched. */
const areaUnit = () => (timeline.stretched ? 0.01 : 1);

function setArea(from, to) {
  const inside = (at) => Math.max(0, Math.min(at, timeline.end));
  [area.from, area.to] = [inside(Math.min(from, to)), inside(Math.max(from, to))];
  showArea();
}

function clearArea() {
  [area.from, area.to] = [null, null];
  showArea();
}

function showArea() {
  const digits = (at) => String(Number((at / areaUnit()).toPrecision(7)));
  $('#area-from').value = hasArea() ? digits(area.from) : '';
  $('#area-to').value = hasArea() ? digits(area.to) : '';
  for (const unit of document.querySelectorAll('.area-unit')) unit.textContent = timeline.stretched ? '%' : 's';
  for (const id of ['#area-zoom', '#area-clear']) $(id).disabled = !hasArea();
  placeShade();
  $('#area-box').hidden = !hasArea();
  if (hasArea()) tellArea();
}

/** The shade over the part of the area that is in view. */
function placeShade() {
  const shade = $('#shade');
  const [from, to] = [Math.max(area.from, timeline.from), Math.min(area.to, timeline.to)];
  shade.hidden = !hasArea() || to < from;
  if (shade.hidden) return;
  const [left, right] = [from, to].map((at) => timeline.chart.convertToPixel({ xAxisIndex: 0 }, at));
  shade.style.left = `${left}px`;
  shade.style.width = `${Math.max(1, right - left)}px`;
}

// ---------------------------------------------------------------- sums

const overlap = (bar, from, to) => Math.max(0, Math.min(bar.end, to) - Math.max(bar.start, from));

/** Of each stage and of all, in [from, to] seconds of a run. A load or call that is only partly there
 * counts with the part of its time, its bytes and its number: sums of neighbours add up. */
function sumsIn(run, from, to) {
  const stages = new Map();
  const add = (bar, values) => {
    for (const name of [bar.chunk.stage, '']) {
      const sums = stages.get(name) ?? { computing: 0, waiting: 0, loading: 0, calls: 0, loads: 0, bytes: 0, colour: bar.chunk.colour };
      for (const [key, value] of Object.entries(values)) sums[key] += value;
      stages.set(name, sums);
    }
  };
  const each = (bars, valuesOf) => bars.forEach((bar) => {
    const there = overlap(bar, from, to);
    if (there > 0) add(bar, valuesOf(there, there / (bar.end - bar.start), bar));
  });
  each(run.calls, (there, share) => ({ computing: there, calls: share }));
  each(run.waits, (there) => ({ waiting: there }));
  each(run.loads, (there, share, bar) => ({ loading: there, loads: share, bytes: share * bar.size }));
  return stages;
}

/** The most that is in memory in [from, to] seconds of a run. */
function mostIn({ memory }, from, to) {
  const first = Math.max(0, indexAt(memory.at, from));
  let most = 0;
  for (let i = first; i < memory.at.length && memory.at[i] <= to; i += 1) most = Math.max(most, memory.sums[i]);
  return most;
}

const AREA_COLUMNS = ['stage', 'computing', 'waiting', 'loading', 'calls', 'loads', 'read'];
/** So many, told as a whole where it is one. */
const countOf = (value) => (Math.abs(value - Math.round(value)) < 1e-6 ? String(Math.round(value)) : value.toFixed(1));

function areaRow(name, sums) {
  const cells = [
    ...['computing', 'waiting', 'loading'].map((key) => (sums[key] ? formatSeconds(sums[key]) : '–')),
    countOf(sums.calls), countOf(sums.loads), formatBytes(Math.round(sums.bytes)),
  ];
  return make('tr', name ? {} : { class: 'own' },
    make('td', { class: 't' }, ...(name ? [make('span', { class: 'dot', '--c': `var(--s${sums.colour % 8})` }), make('code', {}, name)] : ['all'])),
    ...cells.map((text) => make('td', { class: 'n' }, text)));
}

function areaTable(run) {
  const [from, to] = [area.from / run.scale, area.to / run.scale];
  const sums = sumsIn(run, from, to);
  const all = sums.get('');
  sums.delete('');
  const rows = [...sums].sort((a, b) => b[1].computing + b[1].waiting + b[1].loading - a[1].computing - a[1].waiting - a[1].loading);
  const step = 10 ** Math.floor(Math.log10(Math.max(to - from, 1e-9) / 1000));
  const nothing = make('tr', {}, make('td', { class: 't', colspan: AREA_COLUMNS.length }, 'nothing is loaded or computed here'));
  const told = `${timeline.isBoth ? `${run.track.name}: ` : ''}${formatSeconds(to - from)}, from ${formatMoment(from, step, to)} to ${formatMoment(to, step, to)}${all ? `; at most ${formatBytes(mostIn(run, from, to))} in memory` : ''}`;
  const table = make('table', { class: 'cards' },
    make('thead', {}, make('tr', {}, ...AREA_COLUMNS.map((name, i) => make('th', { scope: 'col', class: i ? 'n' : 't' }, name)))),
    make('tbody', {}, ...rows.map(([name, s]) => areaRow(name, s)), all ? areaRow('', all) : nothing));
  labelCells(table);
  return make('div', {}, make('h3', {}, told),
    make('div', { class: 'scroll', role: 'region', 'aria-label': 'Sums of the area', tabindex: '0' }, table));
}

function tellArea() {
  $('#area-tables').replaceChildren(...timeline.shown.map(areaTable));
  // Heard, the totals are enough.
  const heard = timeline.shown.map((run) => {
    const all = sumsIn(run, area.from / run.scale, area.to / run.scale).get('');
    return all ? `computing ${formatSeconds(all.computing)}, waiting ${formatSeconds(all.waiting)}, read ${formatBytes(Math.round(all.bytes))}` : 'nothing';
  });
  $('#area-told').textContent = `Area: ${heard.join('; ')}`;
}

// ---------------------------------------------------------------- pointer

const momentOf = (event) => timeline.momentAt(event.clientX - timeline.element.getBoundingClientRect().left);

function setChoosing(on) {
  area.isChoosing = on;
  $('#area-mode').setAttribute('aria-pressed', String(on));
  timeline.element.classList.toggle('choosing', on);
}

/** Over the lanes and the memory, not over the strip below them. */
const isOverPicture = (event) => event.clientY - timeline.element.getBoundingClientRect().top < timeline.element.clientHeight - 40;

function onPointerDown(event) {
  if (!(area.isChoosing || event.shiftKey) || event.button !== 0 || !isOverPicture(event)) return;
  // The picture itself would move.
  event.stopPropagation();
  event.preventDefault();
  timeline.element.focus({ preventScroll: true });
  timeline.element.setPointerCapture(event.pointerId);
  area.began = Math.max(timeline.from, Math.min(momentOf(event), timeline.to));
}

function onPointerMove(event) {
  if (area.began === null) return;
  event.stopPropagation();
  setArea(area.began, Math.max(timeline.from, Math.min(momentOf(event), timeline.to)));
}

function onPointerUp(event) {
  if (area.began === null) return;
  event.stopPropagation();
  area.began = null;
}

for (const [name, act] of [['pointerdown', onPointerDown], ['pointermove', onPointerMove], ['pointerup', onPointerUp], ['pointercancel', onPointerUp]]) {
  timeline.element.addEventListener(name, act, { capture: true });
}

// ---------------------------------------------------------------- keys and fields

/** Shift with left and right moves its end, with up and down its start. */
function moveEnd(key) {
  if (!hasArea()) setArea(...Array(2).fill((timeline.from + timeline.to) / 2));
  const by = (timeline.to - timeline.from) / 40;
  const { from, to } = area;
  if (key === 'ArrowRight') setArea(from, to + by);
  if (key === 'ArrowLeft') setArea(from, Math.max(from, to - by));
  if (key === 'ArrowDown') setArea(from - by, to);
  if (key === 'ArrowUp') setArea(Math.min(to, from + by), to);
}

timeline.onAreaKey = (event) => {
  if (event.shiftKey && event.key.startsWith('Arrow')) moveEnd(event.key);
  else if (event.key === 'a') setArea(timeline.from, timeline.to);
  else if (event.key === 'Enter' && hasArea()) timeline.setWindow(area.from, area.to);
  else if (event.key === 'Escape' && hasArea()) clearArea();
  else return false;
  return true;
};

function readFields() {
  const [from, to] = ['#area-from', '#area-to'].map((id) => $(id).valueAsNumber * areaUnit());
  if (Number.isFinite(from) && Number.isFinite(to)) setArea(from, to);
}

// A click ends a selection; it selects no bar.
timeline.onSelect = () => area.isChoosing;
timeline.onChange(placeShade);
timeline.onShow = clearArea;
$('#area-mode').addEventListener('click', () => setChoosing(!area.isChoosing));
$('#area-view').addEventListener('click', () => setArea(timeline.from, timeline.to));
$('#area-zoom').addEventListener('click', () => timeline.setWindow(area.from, area.to));
$('#area-clear').addEventListener('click', clearArea);
for (const id of ['#area-from', '#area-to']) $(id).addEventListener('change', readFields);
clearArea();
