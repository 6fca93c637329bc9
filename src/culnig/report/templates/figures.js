// Figures: drawn when they come into view, in the colours of the page, with PNG, SVG and CSV of each.

const DARK = {
  '#1f2430': '#e9e7e2', '#8a8f9c': '#a9adb8', '#e8e6e1': '#3a3f4a', '#b9bcc4': '#6b7282', '#fbfaf7': '#262a33',
  '#b5472f': '#f0907a', '#2f6690': '#7db4e0', '#f3d9c9': '#4a342d', '#8f2d17': '#f0907a', '#d98862': '#a85a40', '#f1eee7': '#23262e',
};
let printing = false; // paper is white, whatever the page is
const drawn = new Map(); // element -> {figure, name}

function recoloured(value, dark) {
  if (typeof value === 'string') return dark ? DARK[value.toLowerCase()] || value : value;
  if (Array.isArray(value)) return value.map((each) => recoloured(each, dark));
  if (value && typeof value === 'object' && !value.bdata) {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, recoloured(each, dark)]));
  }
  return value;
}

function styled(figure, dark, narrow) {
  const copy = recoloured(figure, dark);
  copy.layout.hoverlabel = { ...copy.layout.hoverlabel, bgcolor: dark ? '#2a2e37' : '#fff', font: { color: dark ? '#e9e7e2' : '#1f2430' } };
  if (narrow) {
    for (const trace of copy.data) {
      if (trace.type !== 'heatmap') continue;
      trace.showscale = false;
      // Numbers in cells do not fit on a phone; they are in the tables.
      if (copy.layout.meta && copy.layout.meta.country) trace.textfont = { size: 8 };
      else delete trace.texttemplate;
    }
  }
  return copy;
}

async function draw(element) {
  const entry = drawn.get(element);
  const Plotly = await loadPlotly();
  const { data, layout } = styled(entry.figure, theme.dark && !printing, window.innerWidth < 600);
  await Plotly.react(element, data, layout, { displayModeBar: false, responsive: true });
  if (layout.meta && layout.meta.country && !entry.listens) {
    entry.listens = true;
    element.on('plotly_click', (event) => openCountry(event.points[0].customdata));
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    draw(target);
  }
}, { rootMargin: '300px' });

function addFigure(element, figure, name) {
  drawn.set(element, { figure, name });
  element.style.height = `${figure.layout.height || 320}px`;
  const tools = make('div', { class: 'tools' });
  for (const kind of ['png', 'svg', 'csv']) {
    const label = `${kind.toUpperCase()} of: ${name.slice(0, 80)}`;
    tools.append(make('button', { type: 'button', 'data-export': kind, 'aria-label': label, onclick: () => exportFigure(element, kind) }, kind.toUpperCase()));
  }
  element.parentElement.append(tools);
  seen.observe(element);
}

function figureBlock(parent, figure, caption) {
  const element = make('div', { class: 'plot', role: 'img', 'aria-label': caption });
  parent.append(make('figure', {}, element, make('figcaption', {}, caption)));
  addFigure(element, figure, caption);
  return element;
}

async function exportFigure(element, kind) {
  const { figure, name } = drawn.get(element);
  const file = fileName(name);
  if (kind === 'csv') return saveCsv(file, csvOf(rowsOf(figure)));
  const Plotly = await loadPlotly();
  const { data, layout } = styled(figure, false, false);
  layout.paper_bgcolor = layout.plot_bgcolor = '#ffffff';
  const size = { width: Math.max(700, element.clientWidth), height: layout.height || 400 };
  const url = await Plotly.toImage({ data, layout }, { format: kind, scale: kind === 'png' ? 2 : 1, ...size });
  const text = kind === 'svg' ? decodeURIComponent(url.slice(url.indexOf(',') + 1)) : null;
  const blob = text ? new Blob([text], { type: 'image/svg+xml' }) : new Blob([Uint8Array.from(atob(url.split(',')[1]), (c) => c.charCodeAt(0))], { type: 'image/png' });
  save(`${file}.${kind}`, blob);
}

const DTYPES = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array };
function plain(values) {
  if (!values || !values.bdata) return Array.isArray(values) ? values : [];
  const bytes = Uint8Array.from(atob(values.bdata), (c) => c.charCodeAt(0));
  const flat = [...new DTYPES[values.dtype](bytes.buffer)];
  if (!values.shape) return flat;
  const width = Number(String(values.shape).split(',')[1]);
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
}

function rowsOf(figure) {
  const maps = figure.data.filter((trace) => trace.z && trace.hoverinfo !== 'skip');
  const others = figure.data.filter((trace) => !trace.z);
  const rows = [];
  for (const trace of maps) {
    const [x, y, names] = [plain(trace.x), plain(trace.y), plain(trace.customdata)];
    if (!rows.length) rows.push(['row', 'column', 'value', 'name']);
    plain(trace.z).forEach((line, i) => plain(line).forEach((z, j) => {
      if (z != null && !Number.isNaN(z)) rows.push([y[i] ?? i, x[j] ?? j, z, names[i] ? names[i][j] : '']);
    }));
  }
  if (others.length) rows.push(['series', 'x', 'y', 'error below x', 'error above x', 'error below y', 'error above y', 'text']);
  for (const trace of others) {
    const [x, y, text] = [plain(trace.x), plain(trace.y), plain(trace.text)];
    const errors = ['error_x', 'error_y'].flatMap((axis) => [plain((trace[axis] || {}).arrayminus), plain((trace[axis] || {}).array)]);
    for (let i = 0; i < Math.max(x.length, y.length); i++) {
      rows.push([trace.name || '', x[i], y[i], ...errors.map((each) => each[i]), text[i]]);
    }
  }
  return rows;
}

function startFigures() {
  for (const script of all('script[data-for]')) {
    const element = document.getElementById(script.dataset.for);
    addFigure(element, JSON.parse(script.textContent), element.getAttribute('aria-label'));
  }
  theme.listeners.push(() => {
    for (const element of drawn.keys()) if (element.classList.contains('js-plotly-plot')) draw(element);
  });
}
