// Neuron cards: search and sort; a card is filled in when it is opened.

const cardName = (card) => `${card.module} · layer ${card.layer} · neuron ${card.index}`;
const wordsOf = (card) => [cardName(card), card.key, ...card.countries.slice(0, 3).map((c) => c[0]), ...(card.promoted || []).map((t) => t[0]), ...(card.demoted || []).map((t) => t[0])].join(' ').toLowerCase();

async function startNeurons() {
  const { cards } = await loadData();
  const app = one('#neurons-app');
  if (!app) return;
  if (!cards.length) return app.append(make('p', {}, 'There are no cards: no culture-general set in this run yet.'));
  const search = make('input', { id: 'card-search', type: 'search', placeholder: 'module, layer, token, country' });
  const orders = { rank: 'rank', layer: 'layer', module: 'module', frequency: 'chosen in resamples' };
  const sort = make('select', { id: 'card-sort' }, ...Object.entries(orders).map(([key, text]) => make('option', { value: key }, text)));
  const count = make('p', { class: 'count', role: 'status' });
  const list = make('div');
  app.append(
    make('p', { class: 'muted' }, `The ${cards.length} neurons with the highest scores. Open one; each has an address of its own.`),
    make('div', { class: 'filters' }, make('label', { for: 'card-search' }, 'Search', search), make('label', { for: 'card-sort' }, 'Sort by', sort)),
    count, list,
  );
  const entries = cards.map((card) => ({ card, words: wordsOf(card), element: cardEntry(card) }));
  const show = () => {
    const wanted = search.value.trim().toLowerCase().split(/\s+/);
    const found = entries.filter(({ words }) => wanted.every((word) => words.includes(word)));
    const by = sort.value;
    const key = ({ card }) => (by === 'frequency' ? -(card.frequency ?? -1) : card[by]);
    found.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.card.rank - b.card.rank));
    list.replaceChildren(...found.map(({ element }) => element));
    count.textContent = `${found.length} of ${cards.length} neurons`;
  };
  search.addEventListener('input', show);
  sort.addEventListener('change', show);
  openers.neuron = (key) => {
    search.value = '';
    show();
    openEntry(entries.find(({ card }) => card.key === key)?.element);
  };
  show();
}

function cardEntry(card) {
  const top = card.countries.slice(0, 3).map((c) => c[0]).join(', ');
  const summary = make('summary', {},
    make('span', { class: 'chip' }, `#${card.rank}`),
    make('span', { class: 'what' }, make('strong', {}, cardName(card)), card.promoted?.length ? ` → ${card.promoted.slice(0, 5).map((t) => t[0].trim()).filter(Boolean).join(', ')}` : ''),
    make('span', { class: 'meta' }, `score ${card.score.toPrecision(3)} · highest in ${top}`));
  const element = make('details', { class: 'entry', 'data-card': card.key }, summary);
  element.addEventListener('toggle', () => {
    if (element.open && !one('.body', element)) element.append(cardBody(card));
  });
  return element;
}

function cardBody(card) {
  const body = make('div', { class: 'body' });
  const facts = [make('a', { href: `#neuron=${card.key}` }, 'Link to this neuron')];
  if (card.sets.length) facts.push(` · also in ${card.sets.join(', ')}`);
  if (card.frequency !== undefined) facts.push(` · chosen in ${(100 * card.frequency).toFixed(0)} % of resamples`);
  body.append(make('p', { class: 'muted' }, ...facts));
  if (card.promoted) addWords(body, card);
  for (const question of card.questions || []) addQuestion(body, question);
  if (card.alone) addAlone(body, card);
  const pair = make('div', { class: 'pair' });
  body.append(pair);
  const top = card.countries;
  const bars = layoutOf(60 + 20 * top.length, 'score', '');
  bars.yaxis.autorange = 'reversed';
  figureBlock(pair, {
    data: [{ type: 'bar', orientation: 'h', x: top.map((c) => c[1]), y: top.map((c) => c[0]), name: 'score', marker: { color: top.map((c) => (c[1] < 0 ? '#2f6690' : '#b5472f')) }, hovertemplate: '%{y}: %{x:.3g}<extra></extra>' }],
    layout: bars,
  }, `Score by country of ${card.key}.`);
  if (card.histogram) {
    const { counts, edges } = card.histogram;
    const middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const figure = layoutOf(300, 'value', 'tokens');
    figure.bargap = 0.03;
    figureBlock(pair, { data: [{ type: 'bar', x: middle, y: counts, name: 'tokens', marker: { color: '#2f6690' }, hovertemplate: 'around %{x:.3g}: %{y} tokens<extra></extra>' }], layout: figure }, `Values of ${card.key} at ${card.tokensSeen.toLocaleString('en')} tokens.`);
  }
  return body;
}

function addWords(body, card) {
  body.append(make('h4', {}, 'What it writes'));
  if (card.direction) return body.append(make('p', { class: 'muted' }, `No direction: ${card.direction}.`));
  for (const kind of ['promoted', 'demoted']) {
    const words = card[kind].map(([token, logit]) => make('span', { title: `logit ${logit}` }, token.replaceAll('\n', '⏎') || '·'));
    body.append(make('p', { class: 'words' }, `${kind === 'promoted' ? 'Promotes' : 'Demotes'}: `, ...words));
  }
}

function addQuestion(body, question) {
  const most = Math.max(...question.contributions.map(Math.abs)) || 1;
  const spans = question.tokens.map((token, i) => {
    const value = question.contributions[i];
    const strength = Math.min(1, Math.abs(value) / most);
    const colour = value > 0 ? `rgba(181,71,47,${(0.55 * strength).toFixed(3)})` : `rgba(47,102,144,${(0.55 * strength).toFixed(3)})`;
    return make('span', { style: `background:${colour}`, class: question.inPrompt[i] ? null : 'answer', title: `${value}` }, token);
  });
  body.append(
    make('h4', {}, `Counts most on (${question.country}, score ${question.score.toPrecision(3)})`),
    make('p', { class: 'tokens' }, ...spans),
    make('p', { class: 'muted' }, `${question.id}. Red raises the right answer's probability, blue lowers it. Dotted tokens are the options, each without its last token.`),
  );
}

function addAlone(body, card) {
  const unit = { correct: ['points', 100], log_odds: ['nats', 1], perplexity: ['% perplexity', 100] };
  const rows = card.alone.map((row) => {
    const [name, factor] = unit[row.metric];
    const text = [row.change, row.low, row.high].map((x) => (x == null ? '–' : (factor * x).toFixed(2)));
    return make('tr', {}, make('td', {}, row.what), make('td', {}, `${text[0]} ${name}`), make('td', {}, `${text[1]} to ${text[2]}`), make('td', {}, String(row.questions)));
  });
  const heads = ['measured on', 'change', '95 % interval', 'questions'].map((text) => make('th', { scope: 'col' }, text));
  body.append(make('h4', {}, 'Silenced alone'), make('div', { class: 'scroll' }, make('table', {}, make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...rows))));
}
