// The picture of a run, or of two on one axis: lanes of loads and calls, memory below, one window
// over all of it. Moments of the axis are seconds, or shares of each run's whole where it is stretched.
const LANES = ['load', 'compute'];
const LANES_HIGH = 104;
const GAP = 28;

class Timeline {
  constructor(element, runs) {
    this.element = element;
    this.runs = runs;
    this.chart = chartIn(element);
    this.listeners = [];
    this.view = 'kind';
    this.show([0], false);
    this.chart.on('datazoom', () => this.readZoom());
    this.chart.on('click', (event) => this.zoomInto(event));
    this.chart.getZr().on('mousemove', (event) => this.readAt(event.offsetX, event.offsetY));
    this.chart.getZr().on('globalout', () => this.tellLargest());
    element.addEventListener('keydown', (event) => this.onKey(event));
    drawn(() => this.draw());
  }

  /** One run, or two, the first above; `stretched`: each over the whole width. */
  show(numbers, stretched) {
    this.shown = numbers.map((number) => this.runs[number]);
    [this.run] = this.shown;
    this.stretched = stretched;
    for (const run of this.shown) run.scale = stretched ? 1 / (run.track.makespan_s || 1) : 1;
    this.end = Math.max(...this.shown.map((run) => run.track.makespan_s * run.scale)) || 1;
    this.from = 0;
    this.to = this.end;
    this.element.classList.toggle('both', this.isBoth);
  }

  get isBoth() {
    return this.shown.length > 1;
  }

  otherOf(k) {
    return this.isBoth ? this.shown[1 - k] : null;
  }

  /** A moment of the axis as text. */
  moment(at, step) {
    if (!this.stretched) return formatMoment(at, step, this.to);
    return `${(100 * at).toFixed(Math.max(0, -Math.floor(Math.log10(100 * step) + 1e-9)))} %`;
  }

  /** Shows [from, to] of the axis, kept inside it and at least a few ticks long. */
  setWindow(from, to) {
    const span = Math.min(this.end, Math.max(to - from, 200 * this.run.track.tick_s * this.run.scale));
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

  zoomInto({ seriesId, dataIndex }) {
    const k = ['bars', 'bars1'].indexOf(seriesId);
    const bar = this.seen[k]?.[dataIndex];
    if (!bar || this.onSelect?.()) return;
    const { scale } = this.shown[k];
    const margin = 0.06 * (bar.end - bar.start);
    this.setWindow((bar.start - margin) * scale, (bar.end + margin) * scale);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.moveBy(-0.2), ArrowRight: () => this.moveBy(0.2),
      '+': () => this.zoomBy(0.5), '=': () => this.zoomBy(0.5), '-': () => this.zoomBy(2),
      Home: () => this.setWindow(0, this.end),
      PageDown: () => this.onStep?.(1), PageUp: () => this.onStep?.(-1),
    }[event.key];
    const done = this.onAreaKey?.(event) || (act && (act(), true));
    if (done) event.preventDefault();
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
    this.level = Math.max(...this.shown.map((run) => barsIn(run, this.from, this.to).level));
    // Both at one level, so that they can be compared.
    this.seen = this.shown.map((run) => barsIn(run, this.from, this.to, this.level).bars);
    const memory = this.isBoth ? memoryLines(this) : memoryLayers(this);
    this.chart.setOption({ series: [...this.shown.map((run, k) => barSeries(this, run, k)), ...memory] });
    this.tellLargest();
    for (const listener of this.listeners) listener();
  }

  option() {
    const soft = colour('--soft');
    const line = colour('--line');
    const narrow = this.element.clientWidth < 520;
    const left = narrow ? 64 : 74;
    const many = this.shown.length;
    const splits = narrow ? 3 : 7;
    const axis = (gridIndex, more) => ({
      type: 'value', gridIndex, min: 0, max: this.end, axisLine: { lineStyle: { color: line } }, splitNumber: splits,
      axisTick: { show: false }, splitLine: { show: true, lineStyle: { color: line, opacity: 0.6 } },
      axisPointer: { show: true, triggerTooltip: false, label: { show: false }, lineStyle: { color: soft, type: 'dashed' } }, ...more,
    });
    const labels = { color: soft, hideOverlap: true, formatter: (v) => this.nameTick(v) };
    const room = this.isBoth ? LANES_HIGH + GAP : LANES_HIGH;
    const grids = this.shown.map((_, k) => ({ left, right: 26, top: (this.isBoth ? 24 : 6) + k * room, height: LANES_HIGH - (this.isBoth ? 10 : 0), outerBoundsMode: 'none' }));
    const below = grids[many - 1].top + LANES_HIGH + 36;
    const all = [...grids.keys(), many];
    const limit = memoryLimit(this);
    return {
      animation: false,
      textStyle: { fontFamily: fontOfPage(), color: colour('--ink') },
      axisPointer: { link: [{ xAxisIndex: 'all' }] },
      tooltip: { ...tipStyle(), trigger: 'item' },
      grid: [...grids, { left, right: 26, top: below, bottom: 48, outerBoundsMode: 'none' }],
      xAxis: [...grids.map((_, k) => axis(k, { axisLabel: k === many - 1 ? labels : { show: false } })), axis(many, { axisLabel: { show: false } })],
      yAxis: [
        ...grids.map((_, k) => this.laneAxis(k, soft, left)),
        { type: 'value', gridIndex: many, min: 0, max: limit * 1.07, axisLabel: { color: soft, fontSize: 11, showMaxLabel: false, formatter: axisBytes },
          splitLine: { lineStyle: { color: line, opacity: 0.6 } }, interval: niceBytes(limit / 4), axisPointer: { show: false } },
      ],
      dataZoom: [
        { type: 'slider', xAxisIndex: all, filterMode: 'none', bottom: 8, height: 22, left, right: 26, startValue: this.from, endValue: this.to,
          showDataShadow: false, brushSelect: false, borderColor: line, fillerColor: `${colour('--accent')}22`, handleStyle: { color: colour('--card'), borderColor: soft }, moveHandleStyle: { color: soft, opacity: 0.4 },
          labelFormatter: (v) => this.moment(v, (this.to - this.from) / 100), textStyle: { color: soft, fontSize: 11 } },
        { type: 'inside', xAxisIndex: all, filterMode: 'none', zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false, preventDefaultMouseMove: false },
      ],
      series: [],
    };
  }

  /** Loads above calls; of two runs with the run's name above both. */
  laneAxis(k, soft, left) {
    const { track } = this.shown[k];
    const title = { name: `${track.name} · ${formatSeconds(track.makespan_s)}`, nameLocation: 'start', nameGap: 7,
      nameTextStyle: { align: 'left', padding: [0, 0, 0, -left + 10], color: colour('--ink'), fontWeight: 600, fontSize: 12 } };
    return { type: 'category', gridIndex: k, data: LANES, inverse: true, axisLine: { show: false }, axisTick: { show: false },
      axisLabel: { color: soft, fontSize: 12 }, ...(this.isBoth ? title : {}) };
  }

  /** The ends of a window are no round moments: they get no name. */
  nameTick(value) {
    const step = 10 ** Math.floor(Math.log10((this.to - this.from) / 8));
    const off = Math.abs(value / step - Math.round(value / step));
    return off > 1e-4 ? '' : this.moment(value, step);
  }

  /** The moment of the axis below a point of the picture. */
  momentAt(x) {
    return this.chart.convertFromPixel({ xAxisIndex: 0 }, x);
  }

  readAt(x, y) {
    const time = this.momentAt(x);
    const inside = time >= this.from && time <= this.to;
    const when = `at ${this.moment(time, (this.to - this.from) / 1000)}`;
    const at = this.shown.map((run) => (inside ? indexAt(run.memory.at, time / run.scale) : -1));
    if (inside) tellMemory(this, at, when);
    const isMemory = at[0] >= 0 && this.chart.containPixel({ gridIndex: this.shown.length }, [x, y]);
    if (isMemory && !this.isBoth) tellNames(this, at[0], when, x, y);
    else $('#at-cursor').hidden = true;
  }

  tellLargest() {
    $('#at-cursor').hidden = true;
    const at = this.shown.map((run) => {
      const points = pointsIn(run.memory, this.from / run.scale, this.to / run.scale);
      return points.reduce((a, b) => (run.memory.sums[b] > run.memory.sums[a] ? b : a), points[0] ?? -1);
    });
    tellMemory(this, at, at[0] < 0 || this.isBoth ? 'largest here' : `largest here, at ${formatSeconds(this.run.memory.at[at[0]])}`);
  }
}
