'use strict';
// Tools: elements, unpacking, downloads, light and dark.  Text from data only ever becomes text nodes.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

const loaded = {};
function loadData() {
  return (loaded.data ||= unpack('data').then(JSON.parse));
}
function loadPlotly() {
  return (loaded.plotly ||= unpack('plotly').then((code) => {
    document.head.append(make('script', {}, code));
    return window.Plotly;
  }));
}

function save(name, blob) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function csvCell(value) {
  if (value == null || (typeof value === 'number' && !Number.isFinite(value))) return '';
  let text = String(value);
  if (typeof value !== 'number' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formula for a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
const csvOf = (rows) => rows.map((row) => row.map(csvCell).join(',')).join('\n') + '\n';
const saveCsv = (name, text) => save(`${name}.csv`, new Blob([text], { type: 'text/csv;charset=utf-8' }));
const fileName = (text) => text.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 80);

// Light and dark: what the system says, until the reader chooses.
const systemDark = window.matchMedia('(prefers-color-scheme: dark)');
const theme = {
  chosen: null,
  listeners: [],
  get dark() {
    return document.documentElement.dataset.theme === 'dark';
  },
  apply() {
    const dark = this.chosen ? this.chosen === 'dark' : systemDark.matches;
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    const button = one('#theme');
    button.textContent = dark ? 'Light' : 'Dark';
    button.setAttribute('aria-label', dark ? 'Switch to light colours' : 'Switch to dark colours');
    for (const listener of this.listeners) listener();
  },
  start() {
    try {
      this.chosen = localStorage.getItem('culnig-theme');
    } catch {
      this.chosen = null; // pages from disk may have no storage
    }
    one('#theme').hidden = false;
    one('#theme').addEventListener('click', () => {
      this.chosen = this.dark ? 'light' : 'dark';
      try {
        localStorage.setItem('culnig-theme', this.chosen);
      } catch {
        // it holds for this visit
      }
      this.apply();
    });
    systemDark.addEventListener('change', () => this.apply());
    this.apply();
  },
};
