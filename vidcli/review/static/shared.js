'use strict';
// What both pages of `vidcli review` use.

const $ = id => document.getElementById(id);

async function ask(path, body) {
  const request = body === undefined ? {} : {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  let answer;
  try { answer = await fetch(path, request); } catch { throw new Error('the server does not answer; is vidcli review still running?'); }
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { status: answer.status, value });
  return value;
}

function tell(text, bad = false) {
  $('said').textContent = text;
  $('said').className = bad ? 'bad' : '';
}

function make(kind, attributes = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'onclick') element.addEventListener('click', value); else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const verdictOf = clip => ({ label: clip.label, flagged: clip.flagged, segments: clip.segments, by_person: clip.by_person });
const percent = share => `${Math.round(100 * share)} %`;
