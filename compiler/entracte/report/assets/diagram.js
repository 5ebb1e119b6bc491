// The pipeline: boxes are HTML, so that they can be focused and read; dagre says where they stand.
const opened = new Set();
const stageOf = new Map(DATA.stages.map((s) => [s.name, s]));
const chunkOf = new Map(DATA.chunks.map((c) => [c.id, c]));

function nodeElement(node) {
  if (node.kind !== 'stage') {
    const about = { input: 'input', constant: 'constant', host: 'host step', output: 'output' };
    const given = node.kind === 'host' ? 'host' : 'given';
    return make('div', { class: `node ${given}` },
      make('div', { class: 'text' }, make('b', {}, node.label), make('small', {}, about[node.kind])));
  }
  const stage = stageOf.get(node.label);
  const open = opened.has(node.id);
  const count = node.chunks.length === 1 ? '1 chunk' : `${node.chunks.length} chunks`;
  const button = make('button', {
    type: 'button', 'aria-expanded': String(open), 'data-node': node.id,
    onclick: () => toggleNode(node.id),
  }, make('b', {}, node.label), make('small', {}, `${count} · ${formatBytes(stage.weight_bytes)}`));
  if (node.rests) button.append(make('small', { class: 'line' }, `in ${node.rests}`));
  if (node.repeat > 1) button.append(make('small', { class: 'line' }, `${node.repeat} slices, one by one`));
  const box = make('div', { class: 'node stage', '--c': `var(--s${stage.colour % 8})` }, button);
  if (open) box.append(chunkTiles(node));
  return box;
}

function chunkTiles(node) {
  const columns = Math.min(6, Math.ceil(Math.sqrt(node.chunks.length * 1.4)));
  const tiles = make('div', { class: 'tiles-of', style: `grid-template-columns: repeat(${columns}, auto)` });
  for (const id of node.chunks) {
    const chunk = chunkOf.get(id);
    const kept = chunk.kept === 'whole loop';
    tiles.append(make('button', {
      type: 'button', class: kept ? 'kept' : '', onclick: () => showChunk(id),
      title: `${id}: loaded ${chunk.loads} times for ${chunk.calls} calls, kept: ${chunk.kept}`,
    }, id.startsWith(`${node.label}.`) ? id.slice(node.label.length + 1) : id,
    make('small', {}, formatBytes(chunk.weight_bytes))));
  }
  return tiles;
}

function toggleNode(id) {
  if (!opened.delete(id)) opened.add(id);
  layoutDiagram();
  [...document.querySelectorAll('#diagram button[data-node]')].find((b) => b.dataset.node === id)?.focus();
}

function openStages(all) {
  opened.clear();
  for (const node of DATA.flow.nodes) if (all && node.kind === 'stage') opened.add(node.id);
  layoutDiagram();
}

/** Goes to a chunk's row of the table. */
function showChunk(id) {
  $('#filter').value = '';
  $('#filter').dispatchEvent(new Event('input'));
  for (const row of $('#chunk-table').tBodies[0].rows) {
    row.classList.toggle('chosen', row.dataset.chunk === id);
    if (row.dataset.chunk !== id) continue;
    row.scrollIntoView({ block: 'center' });
    row.focus({ preventScroll: true });
  }
}

function layoutDiagram() {
  const host = $('#diagram');
  host.replaceChildren();
  host.style.cssText = '';
  const across = host.parentElement.clientWidth >= 760;
  const graph = new vendor.dagre.graphlib.Graph({ compound: true });
  graph.setGraph({ rankdir: across ? 'LR' : 'TB', nodesep: across ? 16 : 14, ranksep: across ? 26 : 26, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const boxes = new Map();
  for (const loop of DATA.flow.loops) graph.setNode(`loop:${loop.segment}`, {});
  for (const node of DATA.flow.nodes) {
    const element = nodeElement(node);
    host.append(element);
    boxes.set(node.id, element);
    graph.setNode(node.id, { width: element.offsetWidth, height: element.offsetHeight });
    if (node.segment !== null) graph.setParent(node.id, `loop:${node.segment}`);
  }
  for (const edge of DATA.flow.edges) graph.setEdge(edge.source, edge.target);
  vendor.dagre.layout(graph);
  for (const [id, element] of boxes) placeAt(element, graph.node(id));
  for (const loop of DATA.flow.loops) addRing(host, loop, graph.node(`loop:${loop.segment}`));
  host.append(edgesOf(graph));
  fitDiagram(host, graph.graph());
}

function placeAt(element, at) {
  element.style.left = `${at.x - at.width / 2}px`;
  element.style.top = `${at.y - at.height / 2}px`;
}

function addRing(host, loop, at) {
  if (!at || !at.width) return;
  const carried = loop.state.length ? `, carries ${loop.state.join(', ')}` : '';
  const ends = loop.until ? `, may end early by ${loop.until}` : '';
  const ring = make('div', { class: 'ring', title: `${loop.rounds}${carried}${ends}` },
    make('span', {}, `↻ ${loop.name} × ${loop.count}${loop.sliced ? ' slices' : ''}${loop.until ? ' at most' : ''}`));
  const room = 18;
  ring.style.cssText = `left:${at.x - at.width / 2}px;top:${at.y - at.height / 2 - room / 2}px;width:${at.width}px;height:${at.height + room / 2}px`;
  host.prepend(ring);
}

const SVG = 'http://www.w3.org/2000/svg';
function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function edgesOf(graph) {
  const { width, height } = graph.graph();
  const picture = svg('svg', { width, height, 'aria-hidden': 'true' });
  const path = vendor.line().x((p) => p.x).y((p) => p.y).curve(vendor.curveBasis);
  const most = Math.max(1, ...DATA.flow.edges.map((e) => Math.log2(1 + e.size_bytes)));
  for (const edge of DATA.flow.edges) {
    const points = graph.edge(edge.source, edge.target).points;
    const wide = 1 + (2.4 * Math.log2(1 + edge.size_bytes)) / most;
    const drawn = svg('path', { class: 'edge', d: path(points), 'stroke-width': wide });
    const names = edge.tensors.length > 4 ? [...edge.tensors.slice(0, 4), `${edge.tensors.length - 4} more`] : edge.tensors;
    const title = svg('title', {});
    title.textContent = `${names.join(', ')}: ${formatBytes(edge.size_bytes)}`;
    drawn.append(title);
    picture.append(drawn, tipOf(points));
  }
  return picture;
}

function tipOf(points) {
  const [a, b] = points.slice(-2);
  const angle = (Math.atan2(b.y - a.y, b.x - a.x) * 180) / Math.PI;
  return svg('path', { class: 'tip', d: 'M0,0 L-7,-3.5 L-7,3.5 Z', transform: `translate(${b.x},${b.y}) rotate(${angle})` });
}

/** Shrinks a diagram that is a little too wide; one that is much too wide scrolls. */
function fitDiagram(host, { width, height }) {
  const scale = Math.max(0.72, Math.min(1, (host.parentElement.clientWidth - 6) / width));
  host.style.width = `${width}px`;
  host.style.height = `${height}px`;
  host.style.transform = `scale(${scale})`;
  host.style.marginRight = `${(scale - 1) * width}px`;
  host.style.marginBottom = `${(scale - 1) * height}px`;
}
