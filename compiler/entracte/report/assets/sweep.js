// Many plans: a point each, and the table.
const fitting = DATA.rows.filter((r) => r.fits);
const compared = fitting.filter((r) => r.psnr_db !== null);
/** What an axis shows: how a point's place is told, and whether less of it is better. */
const AXES = {
  peak_bytes: { name: 'peak memory', less: true },
  budget_bytes: { name: 'budget', less: true },
  weight_bytes: { name: 'bytes of weights', less: true },
  psnr_db: { name: 'dB against the torch source', less: false },
};
/** Where nothing differs there is no dB: such points stand behind the others. */
const EQUAL_DB = 999;
const finite = compared.map((r) => r.psnr_db).filter((db) => db < EQUAL_DB);
const equalAt = (finite.length ? Math.max(...finite) : 100) + 6;
const placeOf = (row, key) => (key === 'psnr_db' && row[key] >= EQUAL_DB ? equalAt : row[key]);

function pointOf(row, key) {
  const tint = stageColour(DATA.targets.indexOf(row.target));
  return {
    value: [placeOf(row, key), row.makespan_s], symbolSize: row.pareto ? 15 : 11,
    itemStyle: { color: tint, borderColor: row.pareto ? colour('--ink') : colour('--card'), borderWidth: row.pareto ? 2.5 : 1 },
  };
}

function tellRow(row) {
  const bound = row.lower_bound_s ? `, ${(row.makespan_s / row.lower_bound_s).toFixed(2)} × the bound` : '';
  return tipBox(row.label, `on ${row.target}`, `${formatSeconds(row.makespan_s)}${bound}`,
    `peak ${formatBytes(row.peak_bytes)} of ${formatBytes(row.budget_bytes)}`,
    row.weight_bytes ? `${formatBytes(row.weight_bytes)} of weights` : '', `${formatBytes(row.loaded_bytes)} read`,
    row.psnr_db === null ? '' : row.psnr_db >= EQUAL_DB ? 'equal to its torch source' : `${row.decibels} against its torch source`);
}

/** Points of a target that no other of it beats in time and in `key`, in the order of `key`. */
function frontOf(rows, target, key) {
  const sign = AXES[key].less ? 1 : -1;
  const own = rows.filter((r) => r.target === target).map((r) => [placeOf(r, key), r.makespan_s]);
  own.sort((a, b) => sign * (a[0] - b[0]) || a[1] - b[1]);
  let best = Infinity;
  const front = own.filter((p) => p[1] < best && ((best = p[1]), true));
  return sign > 0 ? front : front.reverse();
}

const axisOf = (more) => ({ type: 'value', nameGap: 30, nameLocation: 'middle', scale: true, nameTextStyle: { color: colour('--soft') },
  axisLine: { lineStyle: { color: colour('--line') } }, axisTick: { show: false }, splitLine: { lineStyle: { color: colour('--line') } }, ...more });

function bytesAxis(rows, key, narrow) {
  const sizes = rows.map((r) => r[key]);
  const step = niceBytes((Math.max(...sizes) - Math.min(...sizes)) / (narrow ? 2 : 4) || Math.max(...sizes));
  return axisOf({ name: AXES[key].name, interval: step, min: step * Math.floor(Math.min(...sizes) / step), max: step * Math.ceil(Math.max(...sizes) / step),
    axisLabel: { color: colour('--soft'), formatter: axisBytes, hideOverlap: true } });
}

const decibelAxis = () => axisOf({ name: AXES.psnr_db.name, axisLabel: { color: colour('--soft'), hideOverlap: true, formatter: (v) => `${Math.round(v * 10) / 10}` } });

function sweepOption(rows, key, narrow) {
  return {
    animation: false,
    textStyle: { fontFamily: fontOfPage(), color: colour('--ink') },
    tooltip: { ...tipStyle(), trigger: 'item' },
    grid: { left: 78, right: 28, top: 20, bottom: 52 },
    xAxis: key === 'psnr_db' ? decibelAxis() : bytesAxis(rows, key, narrow),
    yAxis: axisOf({ name: 'predicted time', nameGap: 62, axisLabel: { color: colour('--soft'), formatter: (v) => (v ? formatSeconds(v) : '0') } }),
    series: [
      // The better side of a front is below it: to the left for bytes, to the right for dB.
      ...DATA.targets.map((target, i) => ({ id: `front${i}`, type: 'line', step: AXES[key].less ? 'end' : 'start', symbol: 'none', silent: true, data: frontOf(rows, target, key), lineStyle: { color: stageColour(i), type: 'dashed', width: 1.5 } })),
      { id: 'plans', type: 'scatter', data: rows.map((r) => pointOf(r, key)), tooltip: { formatter: (p) => tellRow(rows[p.dataIndex]) } },
    ],
  };
}

/** The row of a point that was chosen comes into view. */
function showRow(row) {
  for (const other of document.querySelectorAll('tr.chosen')) other.classList.remove('chosen');
  const shown = $(`tr[data-row="${DATA.rows.indexOf(row)}"]`);
  shown.classList.add('chosen');
  shown.scrollIntoView({ block: 'nearest' });
}

/** A chart of the rows against `keyNow()`. */
function scatterIn(element, rows, keyNow) {
  const chart = chartIn(element);
  const draw = () => chart.setOption(sweepOption(rows, keyNow(), element.clientWidth < 520), { notMerge: true });
  chart.on('click', (p) => p.seriesType === 'scatter' && showRow(rows[p.dataIndex]));
  drawn(draw);
  return draw;
}

if (fitting.length) {
  let across = 'peak_bytes';
  const draw = scatterIn($('#scatter'), fitting, () => across);
  for (const button of document.querySelectorAll('#axis button')) {
    button.addEventListener('click', () => {
      across = button.dataset.across;
      for (const other of document.querySelectorAll('#axis button')) other.setAttribute('aria-pressed', String(other === button));
      draw();
    });
  }
}
if (compared.length) scatterIn($('#quality'), compared, () => 'psnr_db');
filterRows($('#filter'), $('#sweep-table'), $('#found'));
