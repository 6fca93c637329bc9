// Tabs by the page's address, printing, and the start.

const openers = {}; // neuron, question, country: open what an address names
const PLACE = { neuron: 'neurons', question: 'questions', country: 'questions' };
const panels = all('.panel');

function openEntry(element) {
  if (!element) return;
  for (const each of all('.entry.target')) each.classList.remove('target');
  element.classList.add('target');
  element.open = true;
  element.scrollIntoView({ block: 'start' });
  one('summary', element).focus({ preventScroll: true });
}

function openCountry(country) {
  if (country) location.hash = `#country=${encodeURIComponent(country)}`;
}

async function go() {
  const [, name = '', value] = /^#?([^=]*)(?:=(.*))?$/s.exec(location.hash) || [];
  const wanted = PLACE[name] || name;
  const panel = panels.find((each) => each.id === wanted) || panels[0];
  if (name === 'content') return;
  const changed = !panel.classList.contains('current');
  for (const each of panels) each.classList.toggle('current', each === panel);
  for (const link of all('.bar nav a')) {
    if (link.hash === `#${panel.id}`) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ inline: 'center', block: 'nearest' });
    } else link.removeAttribute('aria-current');
  }
  if (changed) window.scrollTo(0, 0);
  if (value !== undefined) {
    await started;
    openers[name]?.(name === 'question' ? value : decodeURIComponent(value));
  }
}

const opened = new Set();
window.addEventListener('beforeprint', () => {
  printing = true;
  for (const details of all('.panel details:not(.entry):not([open])')) {
    opened.add(details);
    details.open = true;
  }
  document.body.classList.remove('js');
  for (const element of drawn.keys()) if (element.closest('.panel')) draw(element);
});
window.addEventListener('afterprint', () => {
  printing = false;
  for (const details of opened) details.open = false;
  opened.clear();
  document.body.classList.add('js');
  theme.apply();
});

document.body.classList.add('js');
theme.start();
startFigures();
startTables();
const started = Promise.all([startWhere(), startNeurons(), startQuestions()]);
// Figures of other tabs are drawn while the reader looks at the first one, so that printing finds them.
loadPlotly();
window.addEventListener('hashchange', go);
go();
