// Tables: sorting, links to neurons and countries, and a download in full precision.

function startTables() {
  for (const table of all('table[data-table]')) {
    const name = table.dataset.table;
    const button = make('button', { type: 'button', 'data-csv': name, 'aria-label': `CSV of table ${name}` }, 'CSV');
    button.addEventListener('click', async () => saveCsv(fileName(name), (await loadData()).tables[name]));
    table.parentElement.after(make('div', { class: 'tools' }, button));
    sortable(table);
    for (const cell of all('td[data-neuron]', table)) linkNeuron(cell);
    for (const cell of all('td[data-country]', table)) {
      const country = cell.dataset.country;
      cell.replaceChildren(make('a', { href: `#country=${encodeURIComponent(country)}`, title: 'Its questions' }, cell.textContent));
    }
  }
}

async function linkNeuron(cell) {
  const { cards } = await loadData();
  if (!cards.some((card) => card.key === cell.dataset.neuron)) return;
  cell.replaceChildren(make('a', { href: `#neuron=${cell.dataset.neuron}` }, cell.textContent));
}

function sortable(table) {
  const heads = all('thead th', table);
  heads.forEach((head, column) => {
    const button = make('button', { type: 'button' }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const descending = head.getAttribute('aria-sort') === 'ascending';
      for (const each of heads) each.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true });
        return descending ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
