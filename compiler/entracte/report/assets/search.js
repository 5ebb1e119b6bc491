// Stages, chunks, modules and packages are looked for on the whole page: found ones are marked in
// tables, in the diagram and in the timeline, and listed below the field.
const search = { hits: [], at: -1 };
const MOST_HITS = 12;

/** All that can be found: stages, then chunks with what else they are found by. */
const FINDABLE = (() => {
  const found = new Map();
  for (const plan of DATA.plans ?? [DATA]) {
    for (const { stage } of plan.chunks) found.set(`stage ${stage}`, { kind: 'stage', name: stage, more: [] });
  }
  for (const chunk of (DATA.plans ?? [DATA]).flatMap((plan) => plan.chunks)) {
    const entry = found.get(`chunk ${chunk.id}`) ?? { kind: 'chunk', name: chunk.id, stage: chunk.stage, more: new Set() };
    const row = rowsOf('chunk', chunk.id).find((r) => r.dataset.modules);
    for (const name of row ? row.dataset.modules.split(' ') : []) entry.more.add(`module ${name}`);
    if (chunk.package) entry.more.add(`package ${chunk.package}`);
    found.set(`chunk ${chunk.id}`, entry);
  }
  return [...found.values()].map((entry) => ({ ...entry, more: [...entry.more] }));
})();

/** Rows of all tables that are of a chunk or of a stage. */
function rowsOf(kind, name) {
  return [...document.querySelectorAll(`tr[data-${kind}]`)].filter((row) => row.dataset[kind] === name);
}

/** What an entry is found by: its name, or the first of what else contains the text; or nothing. */
function foundBy(entry, wanted) {
  const found = entry.more.filter((text) => text.slice(text.indexOf(' ') + 1).toLowerCase().includes(wanted));
  if (!entry.name.toLowerCase().includes(wanted) && !found.length) return null;
  const told = entry.name.toLowerCase().includes(wanted) ? [] : found;
  return { ...entry, told: told.slice(0, 2).join(', ') + (told.length > 2 ? ` and ${told.length - 2} more` : '') };
}

function lookFor(text) {
  const wanted = text.trim().toLowerCase();
  search.hits = wanted ? FINDABLE.map((entry) => foundBy(entry, wanted)).filter(Boolean) : [];
  search.at = -1;
  mark();
  tellHits(wanted);
}

function mark() {
  const stages = new Set(search.hits.filter((h) => h.kind === 'stage').map((h) => h.name));
  marked.clear();
  for (const hit of search.hits) if (hit.kind === 'chunk') marked.add(hit.name);
  for (const entry of FINDABLE) if (stages.has(entry.stage)) marked.add(entry.name);
  for (const row of document.querySelectorAll('tr[data-chunk], tr[data-stage]')) {
    row.classList.toggle('hit', marked.has(row.dataset.chunk) || stages.has(row.dataset.stage));
  }
  for (const box of document.querySelectorAll('#diagram [data-found]')) {
    box.classList.toggle('hit', marked.has(box.dataset.found) || isFound(box.dataset.found));
  }
  timeline.refresh();
}

function tellHits(wanted) {
  const many = (kind) => search.hits.filter((h) => h.kind === kind).length;
  const count = (n, name) => (n ? [`${n} ${name}${n === 1 ? '' : 's'}`] : []);
  const told = [...count(many('stage'), 'stage'), ...count(many('chunk'), 'chunk')].join(', ');
  $('#search-count').textContent = wanted ? told || 'nothing' : '';
  const shown = search.hits.slice(0, MOST_HITS).map((hit, i) => make('li', {},
    make('button', { type: 'button', onclick: () => goToHit(i) }, make('small', {}, hit.kind), ' ', make('code', {}, hit.name),
      ...(hit.told ? [make('small', { class: 'line' }, hit.told)] : []))));
  if (search.hits.length > MOST_HITS) shown.push(make('li', { class: 'note' }, `${search.hits.length - MOST_HITS} more; Enter goes through all`));
  $('#hits').replaceChildren(...shown);
  $('#hits').hidden = !shown.length;
  if (shown.length) $('#hits').scrollIntoView({ block: 'nearest' });
}

/** Goes to the row of a hit; the field keeps the keyboard, so that Enter goes on. */
function goToHit(index) {
  const many = search.hits.length;
  if (!many) return;
  search.at = (index + many) % many;
  const hit = search.hits[search.at];
  if ($('#filter')?.value) {
    $('#filter').value = '';
    $('#filter').dispatchEvent(new Event('input'));
  }
  for (const row of document.querySelectorAll('tr.chosen')) row.classList.remove('chosen');
  const rows = rowsOf(hit.kind, hit.name);
  const row = rows.find((r) => r.closest('#chunk-table, #stage-table')) ?? rows[0];
  row?.classList.add('chosen');
  (row ?? timeline.element).scrollIntoView({ block: 'center' });
  $('#search-count').textContent = `${search.at + 1} of ${many}: ${hit.name}`;
  $('#hits').hidden = true;
}

const isTyping = (element) => element.matches('input:not([type="checkbox"]), select, textarea');

function onSearchKey(event) {
  if (event.key === 'Enter') goToHit(search.at + (event.shiftKey ? -1 : 1));
  else if (event.key === 'Escape') {
    $('#search').value = '';
    lookFor('');
    $('#search').blur();
  } else return;
  event.preventDefault();
}

$('#search').addEventListener('input', () => lookFor($('#search').value));
$('#search').addEventListener('keydown', onSearchKey);
document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  event.preventDefault();
  $('#search').focus();
  $('#search').select();
});
document.addEventListener('click', (event) => {
  if (!event.target.closest('.find')) $('#hits').hidden = true;
});
