'use strict';
// The page that shows what one or two runs answered. Counts are by the labels of the evaluation; what is said
// here of a clip goes where the page Review puts it, and is shown at the clip.

const MOST_CLASSES = 30, AT_ONCE = 24, LEVELS = 4;
const clips = new Map();       // by id
const undoable = [];
let told = null, classes = [], revision = 0, ranking = 0;
let shown = [], numTiles = 0, origin = null;
let work = Promise.resolve();

const isRight = (video, run) => video.answers[run].predicted === video.label;
const letter = run => told.runs.length > 1 ? 'AB'[run] : '';
const nameOf = run => `${letter(run)} ${told.runs[run].name}`.trim();
const many = (count, noun = 'video') => `${count} ${noun}${count === 1 ? '' : 's'}`;

// ---- Sums ----

function renderSums() {
  $('count').textContent = many(told.videos.length);
  const interval = ([low, high], digits = 1) => `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)}`;
  $('sums').replaceChildren(...told.runs.map((run, at) => make('li', {}, make('strong', {}, nameOf(at)),
    `: ${run.num_right} right, ${(100 * run.top1).toFixed(1)} % (${interval(run.top1_interval)} with 95 % certainty)`)));
  const pair = told.comparison;
  if (pair) {
    const points = 100 * pair.difference, [low, high] = pair.difference_interval;
    const verdict = low > 0 ? 'A is better' : high < 0 ? 'B is better' : 'either may be better';
    $('difference').textContent = `A less B: ${points > 0 ? '+' : ''}${points.toFixed(1)} points (${interval([low, high])} with 95 % certainty; McNemar's p = ${pair.p_value.toPrecision(2)}): ${verdict}.`;
  }
  $('notes').replaceChildren(...told.notes.map(note => make('li', {}, note)));
  const both = told.runs.length > 1;
  const kinds = both ? [['A right, B wrong', [true, false]], ['B right, A wrong', [false, true]], ['both wrong', [false, false]], ['both right', [true, true]]]
    : [['wrong', [false]], ['right', [true]]];
  $('lists').replaceChildren(...kinds.map(([name, wanted]) => {
    const found = told.videos.filter(video => wanted.every((right, run) => isRight(video, run) === right));
    const wrong = wanted.indexOf(false), sure = video => video.answers[Math.max(wrong, 0)].top[0]?.[1] ?? 0;
    const button = make('button', { type: 'button', onclick: () => openVideos(button, `${name}: ${many(found.length)}`, found, sure) }, `${name}: ${found.length}`);
    return button;
  }));
}

// ---- Matrices ----

const FAILED = 'failed';

function countCells(run) {
  const cells = new Map();   // by true class and answer
  for (const video of told.videos) {
    const key = JSON.stringify([video.label, video.answers[run].predicted]);
    cells.set(key, [...(cells.get(key) ?? []), video]);
  }
  return (label, answer) => cells.get(JSON.stringify([label, answer])) ?? [];
}

function shownClasses() {   // those with most mistakes, where there are too many to show
  if (told.classes.length <= MOST_CLASSES) return told.classes;
  const mistakes = new Map(told.classes.map(name => [name, 0]));
  for (const video of told.videos) for (const { predicted } of video.answers) if (predicted !== video.label)
    for (const name of [video.label, predicted]) if (name !== null) mistakes.set(name, mistakes.get(name) + 1);
  const most = [...told.classes].sort((a, b) => mistakes.get(b) - mistakes.get(a)).slice(0, MOST_CLASSES);
  return told.classes.filter(name => most.includes(name));
}

function renderMatrices() {
  const names = shownClasses(), counts = told.runs.map((_, run) => countCells(run));
  const answers = told.videos.some(video => video.answers.some(answer => answer.predicted === null)) ? [...names, null] : names;
  $('matrices').replaceChildren(...told.runs.map((_, run) => {
    const caption = `${nameOf(run)}: true classes down, answers across${run > 0 ? '; small: more or fewer than A' : ''}` +
      (names.length < told.classes.length ? `; the ${names.length} classes with most mistakes of ${told.classes.length}` : '');
    const head = make('tr', {}, make('td'), ...answers.map(name => make('th', { scope: 'col', title: name ?? FAILED }, make('span', {}, name ?? FAILED))));
    const rows = names.map((label, row) => {
      const all = told.videos.filter(video => video.label === label).length;
      const cells = answers.map((answer, column) => makeCell(counts, run, label, answer, row, column, all));
      return make('tr', {}, make('th', { scope: 'row', title: label }, make('span', {}, label)), ...cells);
    });
    const table = make('table', { role: 'grid', 'aria-label': caption }, make('thead', {}, head), make('tbody', {}, ...rows));
    table.querySelector('button').tabIndex = 0;
    return make('div', {}, make('p', { 'aria-hidden': 'true' }, caption), make('div', { class: 'scroll' }, table));
  }));
}

function makeCell(counts, run, label, answer, row, column, all) {
  const found = counts[run](label, answer), share = all ? found.length / all : 0;
  const before = run > 0 ? counts[0](label, answer).length : found.length, more = found.length - before;
  const what = answer === null ? `${label}, failed` : answer === label ? `${label}, right` : `${label} taken for ${answer}`;
  const text = `${what}${letter(run) && ` by ${letter(run)}`}: ${many(found.length)}`;
  const shareOf = video => video.answers[run].top[0]?.[1] ?? 0;
  const button = make('button', {
    type: 'button', tabindex: -1, 'data-row': row, 'data-column': column, title: text,
    'aria-label': text + (run > 0 && more ? `, ${Math.abs(more)} ${more > 0 ? 'more' : 'fewer'} than A` : ''),
    class: `${answer === label ? 'hit' : 'miss'} level${Math.ceil(LEVELS * share)}`,
    onclick: () => openVideos(button, text, found, shareOf),
  }, String(found.length), ...(more ? [make('small', {}, `${more > 0 ? '+' : '\u2212'}${Math.abs(more)}`)] : []));
  return make('td', { role: 'gridcell' }, button);
}

function focusCell(table, row, column) {
  const next = table.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  if (!next) return;
  for (const button of table.querySelectorAll('[tabindex="0"]')) button.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function moveInMatrix(event, button) {
  const table = button.closest('table'), row = Number(button.dataset.row), column = Number(button.dataset.column);
  if (MOVES[event.key]) focusCell(table, row + MOVES[event.key][0], column + MOVES[event.key][1]);
  else if (event.key === 'w') focusCell([...document.querySelectorAll('table')].find(other => other !== table) ?? table, row, column);
  else return false;
  return true;
}

// ---- Clips of a cell or a list ----

function openVideos(button, title, found, sureness) {
  if (!found.length) { tell(`${title}: nothing to show`); return; }
  origin?.removeAttribute('aria-current');
  origin = button;
  origin.setAttribute('aria-current', 'true');
  shown = [...found].sort((a, b) => sureness(b) - sureness(a));
  numTiles = 0;
  $('cell').hidden = false;
  $('cell-title').textContent = title;
  for (const video of document.querySelectorAll('#tiles video')) drop(video);
  $('tiles').replaceChildren();
  renderDigits();
  addTiles();
  focusTile(0);
}

function addTiles() {
  const from = numTiles;
  numTiles = Math.min(shown.length, numTiles + AT_ONCE);
  $('tiles').append(...shown.slice(from, numTiles).map(makeTile));
  $('more').hidden = numTiles === shown.length;
  $('more').textContent = `Show ${Math.min(AT_ONCE, shown.length - numTiles)} more of ${shown.length}`;
}

function makeTile(video) {
  const screen = make('div', { class: 'screen' });
  const tile = make('article', { tabindex: -1, 'aria-label': video.name }, screen, make('h3', {}, video.name), make('p', { class: 'labels' }));
  tile.append(...video.answers.map((answer, run) => makeAnswer(video, answer, run)));
  tile.of = video;
  if (video.id === null) screen.append(make('p', {}, 'no clip of this page'));
  else {
    const player = make('video', { loop: '', playsinline: '', tabindex: -1, poster: `/picture/${video.id}`, preload: 'none' });
    player.muted = true;
    screen.append(player, make('p', { class: 'wait', hidden: '' }));
    tile.append(make('a', { href: `/#clip=${video.id}`, tabindex: -1 }, 'Open in Review'));
    const clip = clips.get(video.id);
    player.addEventListener('loadedmetadata', () => { if (clip.start) player.currentTime = clip.start; });
    player.addEventListener('timeupdate', () => { if (clip.end !== null && !player.paused && player.currentTime >= clip.end) player.currentTime = clip.start; });
    player.addEventListener('error', () => { if (player.src) wait(tile, 'this browser cannot play the video'); });
    seen.observe(tile);
  }
  tile.addEventListener('focus', () => chooseTile(tile));
  tile.addEventListener('click', event => { if (!event.target.closest('a')) { tile.focus(); playOrPause(tile); } });
  renderLabels(tile);
  return make('li', {}, tile);
}

function makeAnswer(video, answer, run) {
  if (answer.error !== null) return make('p', { class: 'answer' }, make('span', {}, `${letter(run)} failed: ${answer.error}`));
  const right = answer.predicted === video.label, told_of = answer.top.some(([name]) => name === video.label);
  const rows = told_of || answer.share_of_label === null ? answer.top : [...answer.top, [video.label, answer.share_of_label]];
  const verdict = make('strong', {}, `${letter(run)} ${right ? 'right' : 'wrong'}`.trim());
  return make('div', { class: 'answer' }, verdict, make('ul', {}, ...rows.map(([name, share]) => {
    const bar = make('span', { class: 'share', 'aria-hidden': 'true' });
    bar.style.width = `${100 * share}%`;
    return make('li', {}, bar, make('span', { class: 'name' }, name), make('span', {}, percent(share)));
  })));
}

function renderLabels(tile) {
  const { id, label } = tile.of, clip = clips.get(id);
  const now = !clip ? label : clip.segments.length ? many(clip.segments.length, 'segment') : clip.label ?? 'no label';
  tile.querySelector('.labels').replaceChildren('labelled ', make('strong', {}, label), ...(now === label ? [] : [', now ', make('strong', {}, now)]),
    clip?.flagged ? ', flagged' : '');
}

function renderDigits() {
  $('digits').replaceChildren(...classes.slice(0, 9).map((name, index) =>
    make('li', {}, make('button', { type: 'button', onclick: () => giveClass(name) }, make('kbd', {}, String(index + 1)), ` ${name}`))));
}

const tiles = () => [...document.querySelectorAll('#tiles article')];
const chosenTile = () => document.querySelector('#tiles article[tabindex="0"]');

function chooseTile(tile) {
  for (const other of tiles()) { other.tabIndex = other === tile ? 0 : -1; const link = other.querySelector('a'); if (link) link.tabIndex = other.tabIndex; }
}

function focusTile(at) {
  if (at >= numTiles && numTiles < shown.length) addTiles();
  tiles()[at]?.focus();
}

function moveInTiles(event, tile) {
  const all = tiles(), at = all.indexOf(tile), first = all[0].getBoundingClientRect().top;
  const columns = all.filter(other => other.getBoundingClientRect().top === first).length;
  const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: all.length - 1 };
  if (event.key in moves) focusTile(moves[event.key]);
  else if (event.key === 'Enter') tile.querySelector('a')?.click();
  else if (event.key === ' ') playOrPause(tile);
  else return false;
  return true;
}

// ---- Players: only those in sight play ----

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const seen = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const player = target.querySelector('video');
    target.inSight = isIntersecting;
    if (isIntersecting) load(target, player); else player.pause();
  }
});

function wait(tile, text) {
  const line = tile.querySelector('.wait');
  line.hidden = !text;
  line.textContent = text;
}

async function load(tile, player) {
  if (!tile.isConnected || !tile.inSight) return;
  if (player.src) { if (!calm.matches && !tile.isPaused) player.play().catch(() => {}); return; }
  try {
    const found = await ask(`/api/clips/${tile.of.id}`);
    wait(tile, found.ready ? '' : `making a copy that browsers can play: ${percent(found.share)}`);
    if (!found.ready) { setTimeout(() => load(tile, player), 500); return; }
    player.src = `/media/${tile.of.id}`;
    load(tile, player);
  } catch (error) { wait(tile, `cannot be played: ${error.message}`); }
}

function drop(player) { player.pause(); player.removeAttribute('src'); player.load(); }

function playOrPause(tile) {
  const player = tile.querySelector('video');
  if (!player?.src) return;
  tile.isPaused = !player.paused;
  if (tile.isPaused) player.pause(); else player.play().catch(() => {});
}

// ---- What is said of a clip ----

function say(change, text) {
  const tile = chosenTile(), id = tile?.of.id ?? null;
  if (id === null) { tell('no clip of this page is chosen'); return; }
  work = work.then(async () => {
    const clip = clips.get(id), before = verdictOf(clip);
    try {
      const { clip: now } = await ask(`/api/clips/${id}`, { version: clip.version, ...before, by_person: true, ...change(clip) });
      Object.assign(clip, now);
      undoable.push([id, before]);
      renderLabels(tile);
      tell(`saved: ${text(clip)}`);
      if (chosenTile() === tile) focusTile(tiles().indexOf(tile) + 1);
    } catch (error) {
      if (error.status === 409 && error.value.clip) { Object.assign(clip, error.value.clip); renderLabels(tile); }
      tell(`not saved: ${error.message}`, true);
    }
  });
}

const giveClass = name => say(() => ({ label: name, flagged: false, segments: [] }), clip => `${clip.name} is ${name}`);
const flag = () => say(clip => ({ flagged: !clip.flagged }), clip => `${clip.name} ${clip.flagged ? 'is flagged, and out of the manifest' : 'is no longer flagged'}`);

function undo() {
  work = work.then(async () => {
    const last = undoable.pop();
    if (!last) { tell('nothing to undo in this window'); return; }
    const [id, before] = last, clip = clips.get(id);
    try {
      const { clip: now } = await ask(`/api/clips/${id}`, { version: clip.version, ...before });
      Object.assign(clip, now);
      const tile = tiles().find(one => one.of.id === id);
      if (tile) { renderLabels(tile); tile.focus(); }
      tell(`undone: ${clip.name}`);
    } catch (error) { tell(`not undone: ${error.message}`, true); }
  });
}

async function news() {
  try {
    const now = await ask(`/api/news?revision=${revision}&ranking=${ranking}`);
    ({ revision } = now);
    ranking = now.ranking ?? ranking;
    for (const clip of now.clips) if (clip.version > clips.get(clip.id).version) Object.assign(clips.get(clip.id), clip);
    if (now.clips.length) tiles().forEach(renderLabels);
    if (JSON.stringify(now.classes) !== JSON.stringify(classes)) { ({ classes } = now); renderDigits(); }
    if ($('said').textContent.includes('does not answer')) tell('');
  } catch (error) { tell(error.message, true); }
}

// ---- Keys ----

addEventListener('keydown', event => {
  if (event.target.closest('dialog') || event.ctrlKey || event.altKey || event.metaKey) return;
  const cell = event.target.closest('td button'), tile = event.target.closest('article');
  const isLink = event.target.closest('a');
  const digit = /^[1-9]$/.test(event.key) && !$('cell').hidden ? Number(event.key) : 0;
  if (event.repeat && (digit || 'fu'.includes(event.key))) return;
  if (event.key === '?') $('help').showModal();
  else if (cell && moveInMatrix(event, cell)) { /* moved */ }
  else if (tile && !isLink && moveInTiles(event, tile)) { /* moved */ }
  else if (digit) { if (classes[digit - 1] !== undefined) giveClass(classes[digit - 1]); else tell(`there is no class ${digit}`); }
  else if (event.key === 'u') undo();
  else if (event.key === 'f' && tile) flag();
  else if (event.key === 'Escape' && origin) origin.focus();
  else return;
  event.preventDefault();
});
$('keys').addEventListener('click', () => $('help').showModal());
$('more').addEventListener('click', () => { const at = numTiles; addTiles(); focusTile(at); });

Promise.all([ask('/api/runs'), ask('/api/clips')]).then(async ([runs, list]) => {
  told = runs;
  ({ revision } = list);
  for (const clip of list.clips) clips.set(clip.id, clip);
  await news();
  renderSums();
  renderMatrices();
  document.body.dataset.ready = '';
  setInterval(() => { if (!document.hidden) news(); }, 2000);
}).catch(error => tell(error.message, true));
