"""How the page looks, in light and dark, on paper, on a desk and on a phone."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2027; --soft: #5c6773; --line: #dde2e8;
  --accent: #1f6feb; --good: #1a7f4b; --bad: #c2352b; --heat: 31, 111, 235;
  --s0: #1f6feb; --s1: #d9730d; --s2: #1a7f4b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1318; --card: #171c23; --text: #e4e8ed; --soft: #98a3b0; --line: #2a323c;
    --accent: #6cabff; --good: #4cc38a; --bad: #ff7b72; --heat: 88, 155, 255;
    --s0: #6cabff; --s1: #f0a04b; --s2: #4cc38a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 12px; }
h3 { font-size: .95rem; margin: 20px 0 8px; }
p { margin: 0 0 10px; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 12px 0 20px; font-size: .9rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin-bottom: 18px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--soft); font-size: .85rem; line-height: 1.4; }
.verdict { border-left: 4px solid; padding: 6px 12px; margin: 0 0 14px; background: var(--card); }
.verdict.good, .verdict.bad { color: var(--text); }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
.warning { border: 1px solid var(--bad); border-radius: 8px; padding: 8px 12px; }
.chip { display: inline-block; width: .75em; height: .75em; margin-right: .4em; border-radius: 2px; }
.chart + p { margin-top: 10px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; vertical-align: bottom; }
tbody tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; padding: 5px 0 5px 12px; white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 5em; }
td:first-child { min-width: 9em; }
td.n { min-width: 0; }
.few td { color: var(--soft); font-style: italic; }
.changed td { font-weight: 600; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 20px; }
.matrix { width: auto; }
.matrix td, .matrix th { border: 1px solid var(--line); padding: 5px 8px; text-align: center;
  min-width: 2.6em; }
.matrix th.name { text-align: right; font-weight: 400; color: var(--text); white-space: nowrap;
  max-width: 16em; overflow: hidden; text-overflow: ellipsis; }
.matrix .own { outline: 2px solid var(--good); outline-offset: -2px; }
.matrix .none { color: var(--soft); }
figure { margin: 0; }
figcaption { font-weight: 600; font-size: .9rem; margin-bottom: 4px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .reference { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 4 4; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: .85rem;
  color: var(--soft); }
.key { display: inline-block; width: 14px; height: 3px; margin-right: 6px; vertical-align: middle;
  border-radius: 2px; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); } .key.s2 { background: var(--s2); }
.videos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr));
  gap: 0 24px; }
.video { border-top: 1px solid var(--line); padding: 10px 0; }
.video .name { overflow-wrap: anywhere; font-size: .9rem; }
.video .said { overflow-wrap: anywhere; font-size: .9rem; margin-bottom: 6px; }
.frames { display: flex; flex-wrap: wrap; gap: 4px; }
.frames img { height: 72px; width: auto; border-radius: 4px; background: var(--line); display: block; }
.good { color: var(--good); } .bad { color: var(--bad); }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  margin: 0 0 10px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
summary { cursor: pointer; color: var(--accent); }
footer { color: var(--soft); font-size: .85rem; }
@media (max-width: 560px) {
  main { padding: 16px 10px 40px; }
  section { padding: 14px 12px; }
  .frames img { height: 52px; max-width: 100%; }
  svg text { font-size: 13px; }
  .card b { font-size: 1.25rem; }
  .cards { grid-template-columns: repeat(2, 1fr); }
}
@media print { body { background: none; } section, .card { break-inside: avoid; } nav { display: none; } }
"""
