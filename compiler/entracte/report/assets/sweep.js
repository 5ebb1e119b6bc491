// Many plans: a point each, and the table.
const fitting = DATA.rows.filter((r) => r.fits);
let across = 'peak_bytes';

function pointOf(row) {
  const tint = stageColour(DATA.targets.indexOf(row.target));
  return {
    value: [row[across], row.makespan_s], symbolSize: row.pareto ? 15 : 11,
    itemStyle: { color: tint, borderColor: row.pareto ? colour('--ink') : colour('--card'), borderWidth: row.pareto ? 2.5 : 1 },
  };
}

function tellRow(row) {
  const bound = row.lower_bound_s ? `, ${(row.makespan_s / row.lower_bound_s).toFixed(2)} × the bound` : '';
  return tipBox(row.label, `on ${row.target}`, `${formatSeconds(row.makespan_s)}${bound}`,
    `peak ${formatBytes(row.peak_bytes)} of ${formatBytes(row.budget_bytes)}`, `${formatBytes(row.loaded_bytes)} read`);
}

function sweepOption(narrow) {
  const axis = (more) => ({ type: 'value', nameGap: 30, nameLocation: 'middle', scale: true, nameTextStyle: { color: colour('--soft') },
    axisLine: { lineStyle: { color: colour('--line') } }, axisTick: { show: false }, splitLine: { lineStyle: { color: colour('--line') } }, ...more });
  const sizes = fitting.map((r) => r[across]);
  const step = niceBytes((Math.max(...sizes) - Math.min(...sizes)) / (narrow ? 2 : 4) || Math.max(...sizes));
  // Rows are marked target by target, so each has its own front.
  const frontOf = (target) => fitting.filter((r) => r.pareto && r.target === target).map((r) => [r[across], r.makespan_s]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return {
    animation: false,
    textStyle: { fontFamily: fontOfPage(), color: colour('--ink') },
    tooltip: { ...tipStyle(), trigger: 'item' },
    grid: { left: 78, right: 28, top: 20, bottom: 52 },
    xAxis: axis({ name: across === 'peak_bytes' ? 'peak memory' : 'budget', interval: step, min: step * Math.floor(Math.min(...sizes) / step), max: step * Math.ceil(Math.max(...sizes) / step), axisLabel: { color: colour('--soft'), formatter: axisBytes, hideOverlap: true } }),
    yAxis: axis({ name: 'predicted time', nameGap: 62, axisLabel: { color: colour('--soft'), formatter: (v) => (v ? formatSeconds(v) : '0') } }),
    series: [
      ...DATA.targets.map((target, i) => ({ id: `front${i}`, type: 'line', step: 'end', symbol: 'none', silent: true, data: across === 'peak_bytes' ? frontOf(target) : [], lineStyle: { color: stageColour(i), type: 'dashed', width: 1.5 } })),
      { id: 'plans', type: 'scatter', data: fitting.map(pointOf), tooltip: { formatter: (p) => tellRow(fitting[p.dataIndex]) } },
    ],
  };
}

if (fitting.length) {
  const chart = chartIn($('#scatter'));
  const draw = () => chart.setOption(sweepOption($('#scatter').clientWidth < 520), { notMerge: true });
  drawn(draw);
  for (const button of document.querySelectorAll('#axis button')) {
    button.addEventListener('click', () => {
      across = button.dataset.across;
      for (const other of document.querySelectorAll('#axis button')) other.setAttribute('aria-pressed', String(other === button));
      draw();
    });
  }
}
filterRows($('#filter'), $('#sweep-table'), $('#found'));
