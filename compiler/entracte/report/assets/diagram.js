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
  const box = make('div', { class: `node stage${isFound(node.label) ? ' hit' : ''}`, 'data-found': node.label, '--c': `var(--s${stage.colour % 8})` }, button);
  if (open) box.append(chunkTiles(node));
  return box;
}

/** Whether a search found a stage or one of its chunks. */
const isFound = (stage) => DATA.chunks.some((c) => c.stage === stage && marked.has(c.id));

function chunkTiles(node) {
  const columns = Math.min(6, Math.ceil(Math.sqrt(node.chunks.length * 1.4)));
  const tiles = make('div', { class: 'tiles-of', style: `grid-template-columns: repeat(${columns}, auto)` });
  for (const id of node.chunks) {
    const chunk = chunkOf.get(id);
    const kept = chunk.kept === 'whole loop';
    tiles.append(make('button', {
      type: 'button', class: `${kept ? 'kept' : ''}${marked.has(id) ? ' hit' : ''}`, 'data-found': id, onclick: () => showChunk(id),
      title: `${id}: ${chunk.holds && `${chunk.holds}; `}loaded ${chunk.loads} times for ${chunk.calls} calls, kept: ${chunk.kept}`,
    }, id.startsWith(`${node.label}.`) ? id.slice(node.label.length + 1) : id,
    make('small', {}, formatBytes(chunk.weight_bytes)), ...(chunk.holds ? [make('small', { class: 'holds' }, chunk.holds)] : [])));
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

/** What is drawn: its element and its size at scale 1. `scale` null: as large as its card allows. */
const picture = { host: $('#diagram'), width: 1, height: 1, scale: null };
const SMALL = 0.6;
const ZOOM = 1.25;

function layoutDiagram() {
  const { host } = picture;
  host.replaceChildren();
  host.style.cssText = '';
  const boxes = new Map(DATA.flow.nodes.map((node) => [node.id, nodeElement(node)]));
  host.append(...boxes.values());
  const sizes = new Map([...boxes].map(([id, box]) => [id, { width: box.offsetWidth, height: box.offsetHeight }]));
  const graph = bestGraph(sizes, host.parentElement.clientWidth);
  for (const [id, element] of boxes) placeAt(element, graph.node(id));
  for (const loop of DATA.flow.loops) addRing(host, loop, graph.node(`loop:${loop.segment}`));
  host.append(edgesOf(graph));
  Object.assign(picture, { width: graph.graph().width, height: graph.graph().height });
  showScale();
}

/** From left to right; from above where that would be much too small for the card. */
function bestGraph(sizes, room) {
  const down = () => graphOf(sizes, 'TB');
  if (room < 760) return down();
  const across = graphOf(sizes, 'LR');
  if (room >= SMALL * across.graph().width) return across;
  const other = down();
  return other.graph().width < across.graph().width ? other : across;
}

function graphOf(sizes, rankdir) {
  const graph = new vendor.dagre.graphlib.Graph({ compound: true });
  graph.setGraph({ rankdir, nodesep: rankdir === 'LR' ? 16 : 14, ranksep: 26, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const loop of DATA.flow.loops) graph.setNode(`loop:${loop.segment}`, {});
  for (const node of DATA.flow.nodes) {
    graph.setNode(node.id, { ...sizes.get(node.id) });
    if (node.segment !== null) graph.setParent(node.id, `loop:${node.segment}`);
  }
  for (const edge of DATA.flow.edges) graph.setEdge(edge.source, edge.target);
  vendor.dagre.layout(graph);
  return graph;
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

// ---------------------------------------------------------------- size

/** Never larger than drawn, and small enough for the card. */
const fittingScale = () => Math.min(1, (picture.host.parentElement.clientWidth - 6) / picture.width);

function showScale() {
  const { host, width, height } = picture;
  const scale = picture.scale ?? fittingScale();
  host.style.width = `${width}px`;
  host.style.height = `${height}px`;
  host.style.transform = `scale(${scale})`;
  host.style.marginRight = `${(scale - 1) * width}px`;
  host.style.marginBottom = `${(scale - 1) * height}px`;
  $('#diagram-fit').setAttribute('aria-pressed', String(picture.scale === null));
}

/** So many times as large, around the middle of what is seen; null: it fits its card. */
function zoomDiagram(factor) {
  const card = picture.host.parentElement;
  const before = picture.scale ?? fittingScale();
  picture.scale = factor === null ? null : Math.max(0.2, Math.min(4, before * factor));
  showScale();
  const half = card.clientWidth / 2;
  card.scrollLeft = ((card.scrollLeft + half) * (picture.scale ?? 0)) / before - half;
}

function onDiagramWheel(event) {
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoomDiagram(event.deltaY < 0 ? ZOOM : 1 / ZOOM);
}
