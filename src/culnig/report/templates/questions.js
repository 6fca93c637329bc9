// Questions: the saved rows of every test set, with filters; an entry is filled in when it is opened.

const PAGE = 40;
const browser = { tests: [], rows: [], shown: 0, controls: {} };

async function startQuestions() {
  const { questions } = await loadData();
  const app = one('#questions-app');
  if (!app) return;
  browser.tests = questions;
  if (!questions.length) return app.append(make('p', {}, 'No test set has been evaluated yet.'));
  for (const [t, test] of questions.entries()) {
    for (let i = 0; i < test.ids.length; i++) browser.rows.push({ t, i, text: `${test.prompts[i]} ${test.options[i].join(' ')} ${test.ids[i]}`.toLowerCase() });
  }
  const outcomes = { all: 'all', lost: 'lost', gained: 'gained', lostRandom: 'lost under random sets, too', lostOnly: 'lost under no random set', right: 'right before and after', wrong: 'wrong before and after' };
  const controls = browser.controls;
  controls.test = picker('q-test', ['all', ...questions.map((test) => test.name)]);
  controls.country = picker('q-country', ['all', ...values('countries')]);
  controls.topic = picker('q-topic', ['all', ...values('topics')]);
  controls.condition = picker('q-condition', [...new Set(questions.flatMap((test) => [test.main, ...Object.keys(test.conditions)]))].filter(Boolean));
  controls.outcome = make('select', { id: 'q-outcome' }, ...Object.entries(outcomes).map(([key, text]) => make('option', { value: key }, text)));
  controls.search = make('input', { id: 'q-search', type: 'search', placeholder: 'words of question or options' });
  const names = { search: 'Search', test: 'Test set', country: 'Country', topic: 'Topic', condition: 'Suppressed set', outcome: 'Outcome' };
  const filters = make('div', { class: 'filters' }, ...Object.entries(names).map(([key, text]) => make('label', { for: controls[key].id }, text, controls[key])));
  browser.count = make('p', { class: 'count', role: 'status' });
  browser.list = make('div');
  browser.more = make('button', { type: 'button', class: 'more', onclick: () => showMore() }, 'Show more');
  app.append(filters, browser.count, browser.list, browser.more);
  const leftOut = questions.filter((test) => test.leftOut);
  if (leftOut.length) app.append(make('p', { class: 'muted' }, `Not on this page: ${leftOut.map((test) => `${test.leftOut.toLocaleString('en')} of ${(test.leftOut + test.ids.length).toLocaleString('en')} rows of ${test.label}`).join(', ')}. All rows are in evals/ of the run's folder.`));
  for (const control of Object.values(controls)) control.addEventListener('input', () => filterRows());
  openers.question = openQuestion;
  openers.country = (country) => {
    for (const [key, control] of Object.entries(controls)) if (key !== 'condition') control.value = key === 'search' ? '' : 'all';
    controls.country.value = country;
    filterRows();
  };
  filterRows();
}

function picker(id, options) {
  return make('select', { id }, ...options.map((text) => make('option', { value: text }, text)));
}
const values = (column) => [...new Set(browser.tests.flatMap((test) => test[column]))].filter(Boolean).sort();

function outcomeOf({ t, i }, condition) {
  const test = browser.tests[t];
  const [before, after] = [test.untouched.right[i], test.conditions[condition]?.right[i]];
  if (after == null) return { kind: 'none', random: 0, before };
  const random = test.random.filter((name) => before && test.conditions[name].right[i] === 0).length;
  const kind = before && !after ? 'lost' : !before && after ? 'gained' : before ? 'right' : 'wrong';
  return { kind, random, before };
}

function filterRows() {
  const { test, country, topic, condition, outcome, search } = browser.controls;
  const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  browser.found = browser.rows.filter((row) => {
    const of = browser.tests[row.t];
    if (test.value !== 'all' && of.name !== test.value) return false;
    if (country.value !== 'all' && of.countries[row.i] !== country.value) return false;
    if (topic.value !== 'all' && of.topics[row.i] !== topic.value) return false;
    if (!words.every((word) => row.text.includes(word))) return false;
    if (outcome.value === 'all') return true;
    const { kind, random } = outcomeOf(row, condition.value);
    if (outcome.value === 'lostRandom') return kind === 'lost' && random > 0;
    if (outcome.value === 'lostOnly') return kind === 'lost' && random === 0;
    return kind === outcome.value;
  });
  browser.count.textContent = `${browser.found.length.toLocaleString('en')} of ${browser.rows.length.toLocaleString('en')} questions`;
  browser.shown = 0;
  browser.list.replaceChildren();
  showMore();
}

function showMore() {
  const next = browser.found.slice(browser.shown, browser.shown + PAGE);
  browser.list.append(...next.map(questionEntry));
  browser.shown += next.length;
  browser.more.hidden = browser.shown >= browser.found.length;
}

const addressOf = ({ t, i }) => [browser.tests[t].name, browser.tests[t].ids[i], browser.tests[t].wordings[i]].map(encodeURIComponent).join('&');

function questionEntry(row) {
  const test = browser.tests[row.t];
  const { kind, random } = outcomeOf(row, browser.controls.condition.value);
  const chips = { lost: 'lost', gained: 'gained', right: 'right', wrong: 'wrong', none: 'not evaluated' };
  const said = random && kind === 'lost' ? ` · lost under ${random} of ${test.random.length} random sets, too` : '';
  const prompt = test.prompts[row.i].trim().replace(/\s+/g, ' ');
  const summary = make('summary', {},
    make('span', { class: `chip ${kind}` }, chips[kind]),
    make('span', { class: 'what' }, prompt.length > 180 ? `…${prompt.slice(-180)}` : prompt || test.ids[row.i]),
    make('span', { class: 'meta' }, `${test.countries[row.i]} · ${test.topics[row.i]} · ${test.name}${said}`));
  const element = make('details', { class: 'entry', 'data-question': addressOf(row) }, summary);
  element.addEventListener('toggle', () => {
    if (element.open && !one('.body', element)) element.append(questionBody(row));
  });
  return element;
}

function questionBody(row) {
  const test = browser.tests[row.t];
  const condition = browser.controls.condition.value;
  const after = test.conditions[condition];
  const body = make('div', { class: 'body' }, make('pre', { class: 'prompt', tabindex: '0' }, test.prompts[row.i] || 'The prompt was not saved, and its benchmark is not there.'));
  const level = (p, kind) => {
    const bar = make('i', { style: `width:${(100 * Math.min(1, p)).toFixed(1)}%` });
    return make('td', { class: 'number' }, make('span', { class: `level ${kind}`, 'aria-hidden': 'true' }, bar), `${(100 * p).toFixed(1)} %`);
  };
  const [before, later] = [test.untouched.options[row.i], after?.options?.[row.i] || []];
  const rows = before.map((p, o) => {
    const marks = [o === test.gold[row.i] ? 'right answer' : '', o === test.untouched.chosen[row.i] ? 'chosen before' : '', after && o === after.chosen[row.i] ? 'chosen after' : ''].filter(Boolean);
    const name = (test.options[row.i][o] || `option ${o + 1}`).trim();
    const gold = o === test.gold[row.i];
    const later_ = later.length ? level(later[o], 'after') : gold && after && after.p[row.i] != null ? level(after.p[row.i], 'after') : make('td', {}, '');
    return make('tr', { class: gold ? 'gold' : null }, make('td', {}, name), level(p, 'before'), later_, make('td', { class: 'meta' }, marks.join(', ')));
  });
  const heads = ['option', test.before, condition || 'after', ''].map((text) => make('th', { scope: 'col' }, text));
  body.append(make('div', { class: 'scroll' }, make('table', { class: 'options' }, make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...rows))));
  const random = test.random.filter((name) => test.conditions[name].p[row.i] != null);
  if (random.length) {
    const said = random.map((name) => `${(100 * test.conditions[name].p[row.i]).toFixed(0)} %${test.conditions[name].right[row.i] ? '' : ' (wrong)'}`);
    body.append(make('p', { class: 'muted' }, `Probability of the right answer under random sets: ${said.join(', ')}.`));
  }
  const over = test.overVocabulary ? 'Probabilities are over the whole vocabulary.' : 'Probabilities are among the options, as answers were judged.';
  const exact = test.exactPrompts ? '' : ' The prompt was rendered again; this run was made before prompts were saved.';
  body.append(make('p', { class: 'muted' }, `${over}${exact} `, make('a', { href: `#question=${addressOf(row)}` }, `Link to ${test.ids[row.i]}`)));
  return body;
}

function openQuestion(address) {
  const row = browser.rows.find((each) => addressOf(each) === address);
  if (!row) return;
  for (const [key, control] of Object.entries(browser.controls)) if (key !== 'condition') control.value = key === 'search' ? '' : 'all';
  filterRows();
  browser.found = [row, ...browser.found.filter((each) => each !== row)];
  browser.shown = 0;
  browser.list.replaceChildren();
  showMore();
  openEntry(browser.list.firstElementChild);
}
