// Smaller pictures: policies compared, compression error.
const plainAxis = (more) => ({
  axisLine: { lineStyle: { color: colour('--line') } }, axisTick: { show: false },
  splitLine: { lineStyle: { color: colour('--line') } }, ...more,
  axisLabel: { color: colour('--soft'), hideOverlap: true, ...more.axisLabel },
});

const plainChart = () => ({ animation: false, textStyle: { fontFamily: fontOfPage(), color: colour('--ink') }, tooltip: { ...tipStyle(), trigger: 'item' } });

function policyOption(fitting, series, format, mark, step) {
  const names = fitting.map((p) => p.name.replace(' (this plan)', ' ★'));
  return {
    ...plainChart(),
    grid: { left: 8, right: 20, top: 8, bottom: 8, containLabel: true },
    xAxis: plainAxis({ type: 'value', splitNumber: 3, interval: step, max: step && ((top) => step * Math.ceil(top.max / step)), axisLabel: { formatter: format } }),
    yAxis: plainAxis({ type: 'category', inverse: true, data: names, axisLabel: { hideOverlap: false } }),
    series: series.map((s, i) => ({ type: 'bar', stack: 'all', barMaxWidth: 24, ...s, markLine: i === 0 ? mark : undefined })),
  };
}

function drawPolicies() {
  const fitting = DATA.policies.filter((p) => p.fits);
  const tell = (p, lines) => tipBox(fitting[p.dataIndex].name, ...lines(fitting[p.dataIndex]));
  const lines = (p) => [`${formatSeconds(p.makespan_s)} predicted`, `waiting ${formatSeconds(p.stall_s)}`];
  const time = chartIn($('#policy-time'));
  const bytes = chartIn($('#policy-bytes'));
  const axisTime = (v) => (v ? formatSeconds(v).replace(' min 0 s', ' min') : '0');
  drawn(() => {
    const bound = { symbol: 'none', silent: true, label: { show: false }, lineStyle: { color: colour('--ink'), type: 'dashed', width: 1.5 }, data: [{ xAxis: DATA.lower_bound_s }] };
    const busy = { name: 'computing', data: fitting.map((p) => p.makespan_s - p.stall_s), itemStyle: { color: colour('--good') } };
    const waits = { name: 'waiting', data: fitting.map((p) => p.stall_s), itemStyle: stallItem() };
    const told = { tooltip: { formatter: (p) => tell(p, lines) } };
    time.setOption(policyOption(fitting, [{ ...busy, ...told }, { ...waits, ...told }], axisTime, bound), { notMerge: true });
    const loaded = { data: fitting.map((p) => p.loaded_bytes), itemStyle: { color: colour('--k-loading') },
      tooltip: { formatter: (p) => tell(p, (q) => [`${q.loads} loads, ${formatBytes(q.loaded_bytes)}`]) } };
    const step = niceBytes(Math.max(...fitting.map((p) => p.loaded_bytes), 3) / 3);
    bytes.setOption(policyOption(fitting, [loaded], axisBytes, null, step), { notMerge: true });
  });
}

function stallItem() {
  const { fill, opacity, decal } = stallStyle();
  return { color: fill, opacity, decal };
}

/** `plan verify` writes so many dB or more where nothing differs. */
const EQUAL_DB = 999;
const tellError = (chunk) => (chunk.psnr_db >= EQUAL_DB ? 'equal' : `${chunk.psnr_db.toFixed(1)} dB`);

function drawErrors() {
  const scored = DATA.chunks.filter((c) => c.psnr_db !== null);
  if (!scored.length) return;
  const chart = chartIn($('#psnr'));
  const top = Math.max(60, ...scored.map((c) => (c.psnr_db >= EQUAL_DB ? 0 : c.psnr_db))) * 1.15;
  drawn(() => chart.setOption({
    ...plainChart(),
    grid: { left: 8, right: 16, top: 14, bottom: 8, containLabel: true },
    xAxis: plainAxis({ type: 'category', data: scored.map((c) => c.id), axisLabel: { rotate: scored.length > 6 ? 35 : 0 } }),
    yAxis: plainAxis({ type: 'value', max: top, axisLabel: { formatter: (v) => (v === top ? '' : `${v} dB`) } }),
    series: [{
      type: 'bar', barMaxWidth: 30,
      label: { show: scored.length <= 24, position: 'insideTop', color: colour('--ink'), fontSize: 10.5, textBorderColor: colour('--card'), textBorderWidth: 3, formatter: (p) => tellError(scored[p.dataIndex]).replace(' dB', '') },
      data: scored.map((c) => ({ value: Math.min(c.psnr_db, top), itemStyle: { color: stageColour(c.colour) } })),
      tooltip: { formatter: (p) => tipBox(scored[p.dataIndex].id, `${tellError(scored[p.dataIndex])}, ${scored[p.dataIndex].form}`) },
    }],
  }, { notMerge: true }));
}
