// The picture of a run: lanes of loads and calls, memory below, one window over both.
const LANES = ['load', 'compute'];

class Timeline {
  constructor(element, runs) {
    this.element = element;
    this.runs = runs;
    this.chart = chartIn(element);
    this.listeners = [];
    this.view = 'kind';
    this.show(0);
    this.chart.on('datazoom', () => this.readZoom());
    this.chart.on('click', (event) => this.zoomInto(this.bars[event.dataIndex], event.seriesId));
    this.chart.getZr().on('mousemove', (event) => this.readAt(event.offsetX, event.offsetY));
    this.chart.getZr().on('globalout', () => this.tellLargest());
    element.addEventListener('keydown', (event) => this.onKey(event));
    drawn(() => this.draw());
  }

  show(index) {
    this.run = this.runs[index];
    this.end = this.run.track.makespan_s || 1;
    this.from = 0;
    this.to = this.end;
  }

  /** Shows [from, to] seconds, kept inside the run and at least a few ticks long. */
  setWindow(from, to) {
    const span = Math.min(this.end, Math.max(to - from, 200 * this.run.track.tick_s));
    this.from = Math.max(0, Math.min(from, this.end - span));
    this.to = this.from + span;
    this.chart.dispatchAction({ type: 'dataZoom', startValue: this.from, endValue: this.to });
    this.refresh();
  }

  readZoom() {
    const zoom = this.chart.getOption().dataZoom[0];
    const from = (zoom.start / 100) * this.end;
    const to = (zoom.end / 100) * this.end;
    if (Math.abs(from - this.from) + Math.abs(to - this.to) < 1e-9 * this.end) return;
    this.from = from;
    this.to = to;
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.refresh());
  }

  zoomBy(factor) {
    const middle = (this.from + this.to) / 2;
    const half = ((this.to - this.from) / 2) * factor;
    this.setWindow(middle - half, middle + half);
  }

  moveBy(share) {
    const by = share * (this.to - this.from);
    this.setWindow(this.from + by, this.to + by);
  }

  zoomInto(bar, series) {
    if (series !== 'bars' || !bar) return;
    const margin = 0.06 * (bar.end - bar.start);
    this.setWindow(bar.start - margin, bar.end + margin);
  }

  onKey(event) {
    const act = {
      ArrowLeft: () => this.moveBy(-0.2), ArrowRight: () => this.moveBy(0.2),
      '+': () => this.zoomBy(0.5), '=': () => this.zoomBy(0.5), '-': () => this.zoomBy(2),
      Home: () => this.setWindow(0, this.end),
      PageDown: () => this.onStep?.(1), PageUp: () => this.onStep?.(-1),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  onChange(listener) {
    this.listeners.push(listener);
    listener();
  }

  draw() {
    this.chart.setOption(this.option(), { notMerge: true });
    this.refresh();
  }

  refresh() {
    const { level, bars } = barsIn(this.run, this.from, this.to);
    this.level = level;
    this.bars = bars;
    const points = pointsIn(this.run.memory, this.from, this.to);
    this.chart.setOption({ series: [this.barSeries(), ...this.memorySeries(points)] });
    this.tellLargest();
    for (const listener of this.listeners) listener();
  }

  option() {
    const soft = colour('--soft');
    const line = colour('--line');
    const axis = (gridIndex, more) => ({
      type: 'value', gridIndex, min: 0, max: this.end, axisLine: { lineStyle: { color: line } },
      axisTick: { show: false }, splitLine: { show: true, lineStyle: { color: line, opacity: 0.6 } },
      axisPointer: { show: true, triggerTooltip: false, label: { show: false }, lineStyle: { color: soft, type: 'dashed' } }, ...more,
    });
    const labels = { color: soft, hideOverlap: true, formatter: (v) => this.nameTick(v) };
    const narrow = this.element.clientWidth < 520;
    const left = narrow ? 64 : 74;
    const limit = this.memoryLimit();
    return {
      animation: false,
      textStyle: { fontFamily: fontOfPage(), color: colour('--ink') },
      axisPointer: { link: [{ xAxisIndex: 'all' }] },
      tooltip: { ...tipStyle(), trigger: 'item' },
      grid: [{ left, right: 26, top: 6, height: 104, outerBoundsMode: 'none' }, { left, right: 26, top: 146, bottom: 48, outerBoundsMode: 'none' }],
      xAxis: [axis(0, { axisLabel: labels, splitNumber: narrow ? 3 : 7 }), axis(1, { axisLabel: { show: false }, splitNumber: narrow ? 3 : 7 })],
      yAxis: [
        { type: 'category', data: LANES, inverse: true, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: soft, fontSize: 12 } },
        { type: 'value', gridIndex: 1, min: 0, max: limit * 1.07, axisLabel: { color: soft, fontSize: 11, showMaxLabel: false, formatter: axisBytes },
          splitLine: { lineStyle: { color: line, opacity: 0.6 } }, interval: niceBytes(limit / 4), axisPointer: { show: false } },
      ],
      dataZoom: [
        { type: 'slider', xAxisIndex: [0, 1], filterMode: 'none', bottom: 8, height: 22, left, right: 26, startValue: this.from, endValue: this.to,
          showDataShadow: false, brushSelect: false, borderColor: line, fillerColor: `${colour('--accent')}22`, handleStyle: { color: colour('--card'), borderColor: soft }, moveHandleStyle: { color: soft, opacity: 0.4 },
          labelFormatter: (v) => formatMoment(v, (this.to - this.from) / 100, this.to), textStyle: { color: soft, fontSize: 11 } },
        { type: 'inside', xAxisIndex: [0, 1], filterMode: 'none', zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false, preventDefaultMouseMove: false },
      ],
      series: [],
    };
  }

  tickSeconds() {
    return 10 ** Math.floor(Math.log10((this.to - this.from) / 8));
  }

  /** The ends of a window are no round moments: they get no name. */
  nameTick(value) {
    const step = this.tickSeconds();
    const off = Math.abs(value / step - Math.round(value / step));
    return off > 1e-4 ? '' : formatMoment(value, step, this.to);
  }

  barSeries() {
    return {
      id: 'bars', type: 'custom', xAxisIndex: 0, yAxisIndex: 0, clip: true, encode: { x: [0, 1], y: 2 },
      data: this.bars.map((b) => [b.start, b.end, b.lane === 'load' ? 0 : 1]),
      renderItem: (params, api) => this.drawBar(params, api),
      tooltip: { formatter: (p) => this.tellBar(this.bars[p.dataIndex]) },
    };
  }

  drawBar(params, api) {
    const bar = this.bars[params.dataIndex];
    if (!bar) return null;
    const [left, middle] = api.coord([api.value(0), api.value(2)]);
    const [right] = api.coord([api.value(1), api.value(2)]);
    const high = api.size([0, 1])[1] * 0.72;
    const box = { x: left, y: middle - high / 2, width: Math.max(right - left, 1), height: high };
    const gap = box.width > 5 ? 1 : 0;
    const area = params.coordSys;
    const shape = vendor.graphic.clipRectByRect({ ...box, width: box.width - gap }, area);
    if (!shape) return null;
    return { type: 'group', children: [...this.fillOf(bar, shape), this.nameOn(bar, shape)] };
  }

  fillOf(bar, shape) {
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

  nameOn(bar, shape) {
    const faint = bar.lane === 'wait' || (bar.joined && bar.busy < 0.62);
    return {
      type: 'text', silent: true,
      style: { text: longestThatFits(namesOf(bar), shape.width - 10), x: shape.x + 6, y: shape.y + shape.height / 2, verticalAlign: 'middle',
        fontSize: 11.5, fontFamily: fontOfPage(), fill: faint ? colour('--ink') : inkOn(stageColour(bar.chunk.colour)),
        ...(faint ? { stroke: colour('--card'), lineWidth: 3 } : {}) },
    };
  }

  tellBar(bar) {
    if (!bar) return '';
    const when = `${formatSeconds(bar.start)} to ${formatSeconds(bar.end)}`;
    const took = formatSeconds(bar.end - bar.start);
    const step = stepOf(bar);
    if (bar.joined) return this.tellJoined(bar, took, when);
    if (bar.lane === 'wait') return tipBox(`waits for ${bar.chunk.id}`, `${took}, ${when}`, `Why: ${bar.why}.`, step);
    const { holds } = bar.chunk;
    if (bar.lane === 'load') return tipBox(`load ${bar.chunk.id}`, holds, `${formatBytes(bar.size)} in ${took}`, when, step && `for ${step}`);
    return tipBox(bar.chunk.id, holds, `runs ${took}`, when, `activations ${formatBytes(bar.chunk.activation_bytes)}`, step);
  }

  tellJoined(bar, took, when) {
    const busy = formatSeconds(bar.done);
    const what = bar.lane === 'load' ? `${bar.count} loads, ${formatBytes(bar.size)}, ${busy} of ${took}`
      : `${bar.count} calls, computing ${busy}, waiting ${formatSeconds(Math.max(0, bar.end - bar.start - bar.done))}`;
    return tipBox(bar.name, what, when, 'Select it to zoom in.');
  }

  memorySeries(points) {
    const { at } = this.run.memory;
    const sums = points.map(() => 0);
    const layers = layersOf(this.run, this.view).map((layer, k) => {
      const data = points.map((i, n) => [at[i], (sums[n] += layer.at(i))]);
      if (data.length) data.push([this.end, data[data.length - 1][1]]);
      return {
        id: `memory-${layer.id}`, type: 'line', xAxisIndex: 1, yAxisIndex: 1, step: 'end', symbol: 'none', silent: true, data, z: 10 - k / 1000,
        // Chunks of a stage have one colour: a line parts them.
        lineStyle: { width: this.view === 'chunk' && layer.held ? 1 : 0, color: colour('--card') },
        areaStyle: { color: layer.kind ? colour(KIND_COLOURS[layer.kind]) : stageColour(layer.colour), opacity: 1 },
      };
    });
    layers[0].markLine = this.limitLines();
    const peak = this.run.track.peak;
    if (peak) layers[layers.length - 1].markPoint = this.peakMark(peak);
    return layers;
  }

  /** The top of the picture of memory: the budget, unless nearly all of it stays empty. */
  memoryLimit() {
    const [[, budget], peak] = this.run.track.limits;
    const used = this.run.memory.sums.reduce((a, b) => Math.max(a, b), peak?.[1] ?? 0);
    return used < 0.25 * budget ? used * 1.2 : Math.max(used, budget);
  }

  limitLines() {
    const [[, limit], peak] = this.run.track.limits;
    const top = this.memoryLimit();
    const outside = limit > top;
    const budget = outside ? ['budget', top, `budget ${formatBytes(limit)}, ${Math.round(limit / top)} times the height of this picture`] : ['budget', limit];
    const near = peak && Math.abs(budget[1] - peak[1]) < 0.12 * Math.max(budget[1], peak[1]);
    const line = ([name, bytes, told], dash, position) => ({
      yAxis: bytes, lineStyle: { color: colour(name === 'budget' ? '--stall' : '--ink'), type: dash, width: 1.4 },
      label: { formatter: told ?? `${name} ${formatBytes(bytes)}`, position, color: colour('--ink'), fontSize: 11.5, textBorderColor: colour('--card'), textBorderWidth: 3 },
    });
    const data = [line(budget, outside ? 'dotted' : 'solid', 'insideStartTop')];
    if (peak) data.push(line(peak, 'dashed', near ? 'insideEndBottom' : 'insideEndTop'));
    return { symbol: 'none', silent: true, z: 20, data };
  }

  peakMark(peak) {
    return { symbol: 'circle', symbolSize: 9, silent: true, z: 30, itemStyle: { color: colour('--ink'), borderColor: colour('--card'), borderWidth: 2 },
      label: { show: false }, data: [{ coord: [peak.at_s, peak.total_bytes] }] };
  }

  readAt(x, y) {
    const [time] = this.chart.convertFromPixel({ gridIndex: 1 }, [x, 0]);
    const inside = time >= this.from && time <= this.to;
    const index = inside ? indexAt(this.run.memory.at, time) : -1;
    const when = `at ${formatMoment(time, (this.to - this.from) / 1000, this.to)}`;
    if (inside) this.tellMemory(index, when);
    const isMemory = index >= 0 && this.chart.containPixel({ gridIndex: 1 }, [x, y]);
    if (isMemory) tellNames(this, index, when, x, y);
    else $('#at-cursor').hidden = true;
  }

  tellLargest() {
    $('#at-cursor').hidden = true;
    const points = pointsIn(this.run.memory, this.from, this.to);
    const best = points.reduce((a, b) => (this.run.memory.sums[b] > this.run.memory.sums[a] ? b : a), points[0] ?? -1);
    this.tellMemory(best, best >= 0 ? `largest here, at ${formatSeconds(this.run.memory.at[best])}` : '');
  }

  tellMemory(index, when) {
    const readout = $('#readout');
    readout.replaceChildren();
    if (index < 0) return;
    const parts = DATA.kinds.map((kind, k) => `${KIND_NAMES[kind]} ${formatBytes(this.run.memory.kinds[k][index])}`);
    readout.append(make('b', {}, `Memory ${when}: ${formatBytes(this.run.memory.sums[index])}`), ` = ${parts.join(' + ')}`,
      make('span', { class: 'names' }, namesAt(this.run, index)));
  }
}

/** What may be written on a bar, long to short. */
function namesOf(bar) {
  if (bar.lane === 'wait') return ['waits'];
  if (!bar.joined) {
    const alone = stageOf.get(bar.chunk.stage).chunks === 1;
    return [bar.chunk.id, alone ? bar.chunk.stage : bar.chunk.id.split('.').pop()];
  }
  const looped = DATA.segments[bar.segment].loop;
  return looped ? [bar.name, String(bar.iteration + 1)] : [bar.name];
}

/** About: text is measured by its length, and what does not fit is left out. */
const longestThatFits = (names, width) => names.find((name) => name.length * 6.6 <= width) ?? '';

function stepOf(bar) {
  const segment = DATA.segments[bar.segment];
  return segment.loop ? `iteration ${bar.iteration + 1} of ${segment.count} of ${segment.name}` : '';
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
