// Tables that sort by the column whose heading is chosen, and rows that are looked for.
function sortBy(table, column, heading) {
  const down = heading.getAttribute('aria-sort') === 'descending';
  const first = heading.classList.contains('n') ? 'descending' : 'ascending';
  const order = heading.hasAttribute('aria-sort') ? (down ? 'ascending' : 'descending') : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', order);
  const sign = order === 'ascending' ? 1 : -1;
  const rows = [...table.tBodies[0].rows];
  const keys = new Map(rows.map((row) => [row, row.cells[column]?.dataset.sort ?? '']));
  rows.sort((a, b) => sign * compareKeys(keys.get(a), keys.get(b), sign));
  table.tBodies[0].append(...rows);
}

/** Numbers by value, other text by the alphabet; what is missing comes last in both orders. */
function compareKeys(a, b, sign) {
  if (a === '' || b === '') return sign * ((a === '') - (b === ''));
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? a.localeCompare(b, 'en', { numeric: true }) : difference;
}

/** Each cell tells its column's heading: on a phone a row is a card. */
function labelCells(table) {
  const names = [...table.tHead.rows[0].cells].map((heading) => heading.textContent.trim());
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, column) => {
      if (column > 0 && cell.colSpan === 1) cell.dataset.label = names[column];
    });
  }
}

for (const table of document.querySelectorAll('table.sortable')) {
  labelCells(table);
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    $('button', heading).addEventListener('click', () => sortBy(table, column, heading));
  });
}

/** Shows the rows that contain the text of an input. */
function filterRows(input, table, told) {
  input.addEventListener('input', () => {
    const wanted = input.value.trim().toLowerCase();
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !(row.dataset.find ?? row.cells[0].textContent).toLowerCase().includes(wanted);
      count += row.hidden ? 0 : 1;
    }
    told.textContent = wanted ? `${count} of ${table.tBodies[0].rows.length}` : '';
  });
}
