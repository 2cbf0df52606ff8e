'use strict';
// The page of `vidcli review`. It keeps nothing that the server does not: what was said is shown once it is on
// the disk. Undo says again what was said before.

const video = $('video');
const clips = new Map();       // by id
let queues = { unlabelled: [], suspicious: [], copies: [] };
let classes = [], current = null, info = null, guesses = new Map();
let revision = 0, ranking = 0, shown = '', chosen = null, mark = null, timed = false, lastClass = null;
const skipped = new Set(), history = [], undoable = [];
let work = Promise.resolve();

// ---- Which clips are shown, and which is next ----

const isSaid = clip => clip.by_person || clip.flagged;
const isOpen = clip => !isSaid(clip) && clip.label === null && !clip.segments.length;

function listed() {
  const kind = $('list').value;
  if (kind === 'all') return [...clips.keys()];
  if (kind === 'flagged') return [...clips.values()].filter(clip => clip.flagged).map(clip => clip.id);
  const wanted = kind === 'unlabelled' ? isOpen : clip => !isSaid(clip);
  return queues[kind].map(place => place[0]).filter(id => wanted(clips.get(id)) && !skipped.has(id));
}

function reasonOf(id) {
  const place = (queues[$('list').value] || []).find(place => place[0] === id);
  return place ? place[1] : '';
}

function follow(ids, at) {   // the clip after the place `at` of a list that may have lost that place
  const left = listed().filter(id => id !== current);
  const after = ids.slice(at + 1).find(id => left.includes(id));
  const next = $('list').value === 'all' || $('list').value === 'flagged' ? after : left.includes(ids[at]) ? ids[at] : after ?? left[0];
  if (next !== undefined) open(next);
  else { render(); tell('nothing is left in this list'); }
}

function goNext() { const ids = listed(); follow(ids, ids.indexOf(current)); }

function goBack() {
  history.pop();
  const before = history.pop();
  if (before !== undefined) open(before);
}

async function open(id) {
  if (current !== id || info === null) { chosen = null; mark = null; timed = clips.get(id).segments.length > 0; }
  current = id; info = null; guesses = new Map();
  if (history[history.length - 1] !== id) history.push(id);
  video.removeAttribute('src'); video.load();
  render();
  await show(id);
}

async function show(id) {
  let found;
  try { found = await ask(`/api/clips/${id}`); } catch (error) {
    if (current === id) { $('wait').hidden = false; $('wait').textContent = `cannot be played: ${error.message}`; }
    return;
  }
  if (current !== id) return;
  guesses = new Map(found.guesses);
  $('wait').hidden = found.ready;
  if (!found.ready) {
    $('wait').textContent = `making a copy that browsers can play: ${Math.round(100 * found.share)} %`;
    setTimeout(() => { if (current === id) show(id); }, 400);
  } else {
    info = found;
    video.src = `/media/${id}`;
    video.playbackRate = Number($('speed').value);
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) video.play().catch(() => {});
    for (const next of listed().filter(other => other !== id).slice(0, 2)) ask(`/api/clips/${next}`).catch(() => {});
  }
  render();
}

function openNamed() {   // the clip that the page of runs leads to
  const named = /^#clip=(\d+)$/.exec(location.hash);
  if (named && clips.has(Number(named[1]))) { $('list').value = 'all'; shown = ''; open(Number(named[1])); }
}

// ---- What is said ----

function say(change, text, thenNext) {   // one after the other, in the order of the keys
  const id = current;
  work = work.then(async () => {
    const clip = clips.get(id), before = verdictOf(clip);
    const ids = listed(), at = ids.indexOf(id);
    try {
      const { clip: now } = await ask(`/api/clips/${id}`, { version: clip.version, ...before, by_person: true, ...change });
      Object.assign(clip, now);
      undoable.push([id, before]);
      for (const name of [now.label, ...now.segments.map(part => part.label)]) if (name !== null && !classes.includes(name)) classes = [...classes, name].sort();
      tell(`saved: ${text}`);
      if (thenNext && current === id) follow(ids, at); else render();
    } catch (error) {
      if (error.status === 409 && error.value.clip) { Object.assign(clip, error.value.clip); render(); }
      tell(`not saved: ${error.message}`, true);
    }
  });
}

function giveClass(name) {
  lastClass = name;
  if (!timed) { say({ label: name, flagged: false, segments: [] }, `${clips.get(current).name} is ${name}`, true); return; }
  const parts = segments();
  if (chosen !== null && parts[chosen]) { parts[chosen].label = name; keep(parts, `segment is ${name}`); } else addSegment(name);
}

function undo() {
  const last = undoable.pop();
  if (!last) { tell('nothing to undo in this window'); return; }
  const [id, before] = last;
  work = work.then(async () => {
    const clip = clips.get(id);
    try {
      const { clip: now } = await ask(`/api/clips/${id}`, { version: clip.version, ...before });
      Object.assign(clip, now);
      tell(`undone: ${clip.name}`);
      open(id);
    } catch (error) { tell(`not undone: ${error.message}`, true); }
  });
}

function flag() {
  const flagged = !clips.get(current).flagged;
  say({ flagged }, flagged ? 'flagged, and out of the manifest' : 'no longer flagged', flagged);
}

// ---- Segments of a recording ----

const segments = () => clips.get(current).segments.map(part => ({ ...part }));
const duration = () => info ? info.duration : 0;
const now = () => Math.min(Math.round(video.currentTime * 1000) / 1000, duration());

function keep(parts, text, selected = chosen) {
  parts.sort((a, b) => a.start - b.start);
  chosen = selected;
  say({ segments: parts, label: null, flagged: false }, text, false);
}

function addSegment(name) {
  const parts = segments(), end = now();
  const before = parts.filter(part => part.end <= end).map(part => part.end);
  const start = Math.max(mark ?? 0, ...before, 0);
  if (!name) { tell('name a class first'); $('new-name').focus(); return; }
  if (end - start < 0.001 || parts.some(part => part.start < end && part.end > start)) { tell('move on from the start of the segment, outside of others'); return; }
  mark = null;
  parts.push({ start, end, label: name });
  parts.sort((a, b) => a.start - b.start);
  keep(parts, `segment to ${end.toFixed(2)} s`, parts.findIndex(part => part.start === start));
}

function setEdge(which, seconds, index = chosen) {
  const parts = segments(), part = parts[index];
  const least = which === 'start' ? (parts[index - 1]?.end ?? 0) : part.start + 0.04;
  const most = which === 'start' ? part.end - 0.04 : (parts[index + 1]?.start ?? duration());
  part[which] = Math.round(Math.min(Math.max(seconds, least), most) * 1000) / 1000;
  keep(parts, `segment from ${part.start.toFixed(2)} to ${part.end.toFixed(2)} s`, index);
}

function atStart() { if (chosen !== null) setEdge('start', now()); else { mark = now(); tell(`the next segment starts at ${mark.toFixed(2)} s`); } }
function atEnd() { if (chosen !== null) setEdge('end', now()); else addSegment(lastClass ?? classes[0]); }

function splitHere() {
  const parts = segments(), at = now(), index = parts.findIndex(part => part.start < at && at < part.end);
  if (index < 0) { tell('no segment is here'); return; }
  parts.splice(index, 1, { ...parts[index], end: at }, { ...parts[index], start: at });
  keep(parts, `split at ${at.toFixed(2)} s`, index + 1);
}

function mergeNext() {
  const parts = segments();
  if (chosen === null || !parts[chosen + 1]) { tell('choose a segment with one after it'); return; }
  parts.splice(chosen, 2, { ...parts[chosen], end: parts[chosen + 1].end });
  keep(parts, 'merged');
}

function removeSegment() {
  if (chosen === null) { tell('choose a segment'); return; }
  const parts = segments();
  parts.splice(chosen, 1);
  keep(parts, 'removed', null);
}

function renderTimeline() {
  $('timeline').hidden = !timed;
  $('timed').setAttribute('aria-pressed', timed);
  if (!timed) return;
  const whole = duration() || 1, held = document.activeElement?.dataset?.segment;
  $('track').replaceChildren(make('span', { id: 'head' }), ...clips.get(current).segments.map((part, index) => {
    const button = make('button', {
      type: 'button', class: 'segment', 'data-segment': index, 'aria-pressed': index === chosen,
      title: `${part.label}: ${part.start.toFixed(2)} to ${part.end.toFixed(2)} s`,
      onclick: () => { chosen = index; video.currentTime = part.start; renderTimeline(); },
    }, make('span', { class: 'edge first' }), part.label, make('span', { class: 'edge last' }));
    button.style.left = `${100 * part.start / whole}%`;
    button.style.width = `${100 * (part.end - part.start) / whole}%`;
    return button;
  }));
  if (held !== undefined) $('track').querySelector(`[data-segment="${held}"]`)?.focus();
  moveHead();
}

function moveHead() { const head = $('head'); if (head && info) head.style.left = `${100 * video.currentTime / info.duration}%`; }

$('track').addEventListener('pointerdown', down => {
  const box = $('track').getBoundingClientRect();
  const secondsAt = event => (event.clientX - box.left) / box.width * duration();
  const edge = down.target.closest('.edge');
  if (!edge) { if (!down.target.closest('.segment')) { chosen = null; video.currentTime = secondsAt(down); renderTimeline(); } return; }
  down.preventDefault();
  const button = edge.parentElement, which = edge.classList.contains('first') ? 'start' : 'end';
  const index = Number(button.dataset.segment), part = clips.get(current).segments[index];
  const move = event => {
    const seconds = secondsAt(event);
    video.currentTime = Math.max(0, seconds);
    const [start, end] = which === 'start' ? [seconds, part.end] : [part.start, seconds];
    button.style.left = `${100 * start / duration()}%`;
    button.style.width = `${Math.max(0, 100 * (end - start) / duration())}%`;
  };
  const up = event => {
    removeEventListener('pointermove', move);
    removeEventListener('pointerup', up);
    setEdge(which, secondsAt(event), index);
  };
  video.pause();
  addEventListener('pointermove', move);
  addEventListener('pointerup', up);
});

// ---- What is shown ----

function render() {
  const clip = clips.get(current);
  renderList();
  const all = [...clips.values()], labelled = all.filter(one => one.label !== null || one.segments.length).length;
  $('count').textContent = `${labelled} of ${all.length} labelled, ${all.filter(one => one.flagged).length} flagged`;
  if (!clip) { $('name').textContent = 'No clip is open'; return; }
  $('name').textContent = clip.name + (clip.flagged ? ' (flagged)' : '');
  $('reason').textContent = reasonOf(current) + (info && info.copy ? ' (played from a copy)' : '');
  $('flag').setAttribute('aria-pressed', clip.flagged);
  const own = timed ? (clip.segments[chosen] || {}).label : clip.label;
  $('classes').replaceChildren(...classes.map((name, index) => {
    const share = guesses.get(name), told = share === undefined ? '' : percent(share);
    const bar = make('span', { class: 'share', 'aria-hidden': 'true' });
    bar.style.width = `${100 * (share || 0)}%`;
    const button = make('button', { type: 'button', 'aria-pressed': name === own, onclick: () => giveClass(name) },
      bar, ...(index < 9 ? [make('kbd', {}, String(index + 1))] : []),
      make('span', { class: 'name' }, name), make('span', {}, told));
    return make('li', {}, button);
  }));
  renderTimeline();
}

function renderList() {
  const ids = listed().slice(0, 60), key = JSON.stringify([ids, current, ids.map(id => clips.get(id).version)]);
  if (key === shown) return;
  shown = key;
  $('queue').replaceChildren(...ids.map(id => {
    const clip = clips.get(id), said = clip.segments.length ? `${clip.segments.length} segments` : clip.label ?? '';
    const button = make('button', { type: 'button', 'aria-current': id === current, title: reasonOf(id), onclick: () => open(id) },
      make('img', { src: `/picture/${id}`, alt: '', loading: 'lazy' }), make('span', {}, clip.name), ...(said ? [make('strong', {}, said)] : []));
    return make('li', {}, button);
  }));
}

function renderTraining(training) {
  $('training').hidden = !training;
  $('train').textContent = training?.running ? 'Stop training' : 'Train';
  if (!training) return;
  const last = training.lines[training.lines.length - 1] || '';
  const score = training.top1 === undefined ? '' : ` Of new clips expect ${Math.round(100 * training.top1)} % to be right.`;
  const state = training.running ? `Training for ${training.seconds} s: ${last}`
    : training.code === 0 ? `Trained in ${training.seconds} s: ${training.run}.${score}` : `Training ended early: ${last}`;
  if ($('training-state').textContent !== state) $('training-state').textContent = state;
  $('training-lines').textContent = training.lines.join('\n');
}

async function news() {
  try {
    const told = await ask(`/api/news?revision=${revision}&ranking=${ranking}`);
    revision = told.revision;
    for (const clip of told.clips) if (clip.version > clips.get(clip.id).version) Object.assign(clips.get(clip.id), clip);   // an older answer may come late
    const changed = told.queues || JSON.stringify(told.classes) !== JSON.stringify(classes) || told.clips.length;
    classes = told.classes;
    if (told.queues) {
      queues = told.queues; ranking = told.ranking;
      if (current !== null) ask(`/api/clips/${current}`).then(found => { guesses = new Map(found.guesses); render(); }).catch(() => {});
    }
    const { done, total, fault } = told.progress;
    $('progress').hidden = !fault && (ranking > 0 || done >= total);
    $('described').max = total; $('described').value = done; $('described').hidden = Boolean(fault);
    $('progress-text').textContent = fault ? `clips cannot be ranked: ${fault}` : `looked at ${done} of ${total} clips; label meanwhile`;
    renderTraining(told.training);
    if (current === null && listed().length) open(listed()[0]);
    else if (changed && !$('track').matches(':active')) render();
    if ($('said').textContent.includes('does not answer')) tell('');
  } catch (error) { tell(error.message, true); }
}

// ---- Keys and buttons ----

function playOrPause() { if (video.paused) video.play(); else video.pause(); }
function step(count) { video.pause(); if (info) video.currentTime = Math.min(Math.max(0, video.currentTime + count / info.fps), duration()); }
function toggleTimeline() { timed = !timed; chosen = null; render(); }
function skip() { const ids = listed(), at = ids.indexOf(current); skipped.add(current); tell('skipped for now'); follow(ids, at); }

const buttons = {
  back: () => step(-1), forth: () => step(1), play: playOrPause, previous: goBack, next: goNext, skip, undo, flag,
  timed: toggleTimeline, start: atStart, end: atEnd, split: splitHere, merge: mergeNext, remove: removeSegment,
  keys: () => $('help').showModal(),
  train: () => ask('/api/train', { stop: $('train').textContent !== 'Train' }).then(told => renderTraining(told.training)).catch(error => tell(error.message, true)),
};
for (const [id, act] of Object.entries(buttons)) $(id).addEventListener('click', act);

const keys = {
  ' ': playOrPause, ',': () => step(-1), '.': () => step(1), n: goNext, p: goBack, s: skip, u: undo, f: flag,
  t: toggleTimeline, '[': atStart, ']': atEnd, x: splitHere, m: mergeNext, Delete: removeSegment,
  Escape: () => { chosen = null; render(); }, '?': buttons.keys, c: () => $('new-name').focus(),
};
const OF_TIMELINE = new Set(['[', ']', 'x', 'm', 'Delete', 'Escape']);

addEventListener('keydown', event => {
  const field = event.target.closest('input, select, textarea, dialog');
  if (field) { if (event.key === 'Escape' && field.tagName === 'INPUT') field.blur(); return; }
  if (event.ctrlKey || event.altKey || event.metaKey || current === null) return;
  if (event.key === ' ' && event.target.closest('button, summary')) return;   // the button's own key
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  if (event.repeat && (digit || 'sfu'.includes(event.key))) return;
  if (OF_TIMELINE.has(event.key) && !timed) return;
  if (digit) { if (classes[digit - 1] !== undefined) giveClass(classes[digit - 1]); else tell(`there is no class ${digit}`); }
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});

$('new').addEventListener('submit', event => {
  event.preventDefault();
  const name = $('new-name').value.trim();
  if (name && current !== null) { $('new-name').value = ''; $('new-name').blur(); giveClass(name); }
});
$('list').addEventListener('change', () => { history.length = 0; shown = ''; const ids = listed(); if (ids.length) open(ids[0]); else { render(); tell('nothing is in this list'); } });
$('speed').addEventListener('change', () => { video.playbackRate = Number($('speed').value); });
video.addEventListener('play', () => { $('play').textContent = 'Pause'; });
video.addEventListener('pause', () => { $('play').textContent = 'Play'; });
video.addEventListener('loadedmetadata', () => { const clip = clips.get(current); if (clip.start) video.currentTime = clip.start; });
video.addEventListener('error', () => { if (info) { $('wait').hidden = false; $('wait').textContent = 'this browser cannot play the video'; } });
video.addEventListener('timeupdate', () => {
  const clip = clips.get(current);
  if (clip && clip.end !== null && !video.paused && video.currentTime >= clip.end) video.currentTime = clip.start;
  $('time').textContent = `${video.currentTime.toFixed(2)} of ${duration().toFixed(2)} s`;
  moveHead();
});

addEventListener('hashchange', openNamed);

ask('/api/clips').then(async told => {
  for (const clip of told.clips) clips.set(clip.id, clip);
  revision = told.revision;
  $('runs').hidden = !told.has_runs;
  if (told.clips.every(clip => clip.label !== null)) $('list').value = 'suspicious';
  await news();
  if (current === null) { $('list').value = listed().length ? $('list').value : 'all'; if (listed().length) open(listed()[0]); }
  openNamed();
  setInterval(() => { if (!document.hidden) news(); }, 1500);
}).catch(error => tell(error.message, true));
