// Where the neurons of any set sit: layers by modules, and the share of each layer.

function layoutOf(height, x, y) {
  const axis = { gridcolor: '#e8e6e1', zeroline: false, automargin: true, fixedrange: true };
  return {
    height, template: 'none', showlegend: false, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    margin: { l: 10, r: 16, t: 12, b: 10 },
    font: { family: "Inter, 'Segoe UI', system-ui, -apple-system, Helvetica, Arial, sans-serif", size: 13, color: '#1f2430' },
    xaxis: { ...axis, title: { text: x } }, yaxis: { ...axis, title: { text: y } },
  };
}
const WARM = [[0, '#fbfaf7'], [0.25, '#f3d9c9'], [0.6, '#d98862'], [1, '#8f2d17']];

async function startWhere() {
  const app = one('#where-app');
  if (!app) return;
  const { sets } = await loadData();
  const names = Object.keys(sets.sets);
  if (!names.length) return app.append(make('p', {}, 'No neuron set has been selected yet.'));
  const place = make('div');
  const select = make('select', { id: 'set' }, ...names.map((name) => make('option', { value: name }, name)));
  select.addEventListener('change', () => showSet(place, sets, select.value));
  app.append(make('div', { class: 'filters' }, make('label', { for: 'set' }, 'Set of neurons', select)), place);
  if (sets.leftOut) app.append(make('p', { class: 'muted' }, `${sets.leftOut} further sets are in the folder neurons/.`));
  showSet(place, sets, names[0]);
}

function showSet(place, sets, name) {
  for (const plot of all('.plot', place)) drawn.delete(plot);
  place.replaceChildren();
  const counts = sets.sets[name];
  const modules = Object.keys(counts).filter((module) => counts[module].some((n) => n > 0));
  if (!modules.length) return place.append(make('p', {}, 'This set holds no neuron.'));
  const layers = Math.max(...modules.map((module) => counts[module].length));
  const x = [...Array(layers).keys()];
  const z = modules.map((module) => x.map((layer) => counts[module][layer] || 0));
  const map = layoutOf(130 + 44 * modules.length, 'layer', '');
  map.xaxis.showgrid = map.yaxis.showgrid = false;
  map.xaxis.dtick = layers > 16 ? 5 : 1;
  map.yaxis.autorange = 'reversed';
  const cells = z.map((row) => row.map((n) => (n ? String(n) : '')));
  const total = z.flat().reduce((a, b) => a + b, 0);
  figureBlock(place, {
    data: [{ type: 'heatmap', z, x, y: modules.map((m) => m.split('.').pop()), colorscale: WARM, xgap: 2, ygap: 2, text: cells, texttemplate: '%{text}', textfont: { size: 10 }, showscale: false, hovertemplate: 'layer %{x}, %{y}: %{z} neurons<extra></extra>' }],
    layout: map,
  }, `${name}: its ${total.toLocaleString('en')} neurons by module and layer.`);
  const depth = x.map((layer) => modules.reduce((sum, module) => sum + (counts[module][layer] || 0), 0));
  const widths = x.map((layer) => modules.reduce((sum, module) => sum + (sets.modules[module][layer] || 0), 0));
  const bars = layoutOf(300, 'layer', 'of 1,000 neurons');
  bars.xaxis.dtick = map.xaxis.dtick;
  figureBlock(place, {
    data: [{ type: 'bar', x, y: depth.map((n, i) => (widths[i] ? (1000 * n) / widths[i] : 0)), name, marker: { color: '#b5472f' }, text: depth.map(String), textposition: 'none', hovertemplate: 'layer %{x}: %{text} neurons, %{y:.1f} of 1,000<extra></extra>' }],
    layout: bars,
  }, `${name}: depth profile. Neurons of the set among 1,000 of each layer, over the modules that it has neurons in.`);
}
