// The statistics of a link, or of all: how many came and when, and who they were. What is shown is one answer of the
// node, asked for again each five seconds while the dialog is open.

import * as api from './api.js';
import { $, el, set_text, svg } from './dom.js';
import { prepare_dialog } from './dialogs.js';
import { absolute_time, from_local_input, to_local_input, whole, without_scheme } from './format.js';
import { live_clicks } from './live.js';

const kSeconds = { minute: 60, hour: 3600, day: 86400 };
const kMostSteps = 3000;   // of one answer
const kMostRows = 500;     // of the table
const kMostBars = 400;     // what can still be told apart; more are shown in sums
const kRefresh = 5000;
const kShown = 8;          // values of a dimension
const kNames = {
  country: 'Countries', referrer: 'Referrers', device: 'Devices', os: 'Systems', browser: 'Browsers', language: 'Languages',
  rule: 'Rules', source: 'Sources', utm_source: 'utm_source', utm_medium: 'utm_medium', utm_campaign: 'utm_campaign',
  utm_term: 'utm_term', utm_content: 'utm_content',
};
const kNone = { referrer: 'none, or not told', rule: 'no rule held', country: 'not known', language: 'not told' };

let kRegions = null;
try {
  kRegions = new Intl.DisplayNames(['en'], { type: 'region' });
} catch {
  kRegions = null;  // the code will do
}

// "2" is the second rule, "2a" the first target of its split.
function rule_name(value) {
  const target = value.charCodeAt(value.length - 1) - 96;
  return target > 0 ? `Rule ${value.slice(0, -1)}, target ${target}` : `Rule ${value}`;
}

function value_name(dimension, value) {
  if (dimension === 'rule') return rule_name(value);
  if (dimension === 'source') return value === 'qr' ? 'QR code' : value;
  if (dimension !== 'country') return value;
  try {
    return `${kRegions?.of(value) ?? value} (${value})`;
  } catch {
    return value;
  }
}

// Days are days of UTC, as the node counts them; hours and minutes are told in local time.
function time_name(at, step) {
  const date = new Date(at);
  if (step === 'day') return date.toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' });
  return date.toLocaleString('en', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hour12: false });
}

// The node tells steps with clicks only; those between are nought.
function filled(answer) {
  const size = kSeconds[answer.step] * 1000;
  const first = Date.parse(answer.from);
  const count = Math.max(1, Math.min(kMostSteps, Math.round((Date.parse(answer.to) - first) / size)));
  const steps = Array.from({ length: count }, (_, at) => ({ at: first + at * size, clicks: 0, bots: 0 }));
  for (const point of answer.series) {
    const step = steps[Math.round((Date.parse(point.at) - first) / size)];
    if (step) Object.assign(step, { clicks: point.clicks, bots: point.bots });
  }
  return steps;
}

function summed(steps) {
  const size = Math.ceil(steps.length / kMostBars);
  if (size === 1) return steps;
  const out = [];
  for (let at = 0; at < steps.length; at += size) {
    const part = steps.slice(at, at + size);
    out.push({
      at: part[0].at, clicks: part.reduce((sum, step) => sum + step.clicks, 0), bots: part.reduce((sum, step) => sum + step.bots, 0),
    });
  }
  return out;
}

// The next number of 1, 2 or 5 and noughts: a scale that people read.
function nice_top(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, n)));
  return [1, 2, 5, 10].map((by) => by * power).find((top) => top >= n);
}

function chart(answer) {
  const bars = summed(filled(answer));
  const top = nice_top(Math.max(1, ...bars.map((bar) => bar.clicks + bar.bots)));
  const width = 1000;
  const height = 180;
  const each = width / bars.length;
  const gap = each > 6 ? Math.min(4, each * 0.2) : 0;
  const columns = bars.flatMap((bar, at) => {
    const x = (at * each + gap / 2).toFixed(2);
    const people = (bar.clicks / top) * height;
    const bots = (bar.bots / top) * height;
    const rect = (kind, y, tall) => svg('rect', { class: kind, x, y: y.toFixed(2), width: (each - gap).toFixed(2), height: tall.toFixed(2) });
    const drawn = [];
    if (bar.clicks) drawn.push(rect('people', height - people, people));
    if (bar.bots) drawn.push(rect('bots', height - people - bots, bots));
    if (drawn.length === 0) return [];
    return [svg('g', {}, svg('title', {}, `${time_name(bar.at, answer.step)}: ${whole(bar.clicks)} clicks, ${whole(bar.bots)} by bots`), ...drawn)];
  });
  const text = `${whole(answer.clicks)} clicks of people and ${whole(answer.bots)} of bots from ${absolute_time(answer.from)} to ` +
    `${absolute_time(answer.to)}, by ${answer.step}. The most in one column: ${whole(Math.max(...bars.map((bar) => bar.clicks + bar.bots)))}.`;
  const half = top % 2 === 0 ? whole(top / 2) : '';
  return el('figure', { class: 'chart' },
    el('div', { class: 'scale', 'aria-hidden': 'true' }, el('span', {}, whole(top)), el('span', {}, half), el('span', {}, '0')),
    svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-labelledby': 'chart-title chart-desc' },
      svg('title', { id: 'chart-title' }, 'Clicks by time'), svg('desc', { id: 'chart-desc' }, text),
      ...[0, 0.5].map((part) => svg('line', { x1: '0', x2: String(width), y1: String(part * height), y2: String(part * height), 'vector-effect': 'non-scaling-stroke' })),
      ...columns),
    el('figcaption', {}, el('span', {}, time_name(bars[0].at, answer.step)),
      el('span', { class: 'legend' }, el('i', { class: 'people' }), 'people', el('i', { class: 'bots' }), 'bots'),
      el('span', {}, time_name(bars.at(-1).at, answer.step))));
}

// It stays while its rows change: who reads it keeps the focus and the place.
function click_table() {
  const body = el('tbody');
  const scroll = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Clicks by time' },
    el('table', { class: 'plain-table' },
      el('thead', {}, el('tr', {}, ...['Time', 'Clicks', 'Bots', 'Visitors'].map((name) => el('th', { scope: 'col' }, name)))), body));
  const note = el('p', { class: 'note' });
  const node = el('details', { class: 'more', id: 'stats-table' }, el('summary', {}, 'As a table'), scroll, note);
  function show(answer) {
    const points = answer.series.slice(-kMostRows).reverse();
    body.replaceChildren(...points.map((point) => el('tr', {}, el('th', { scope: 'row' }, time_name(point.at, answer.step)),
      ...[point.clicks, point.bots, point.visitors].map((n) => el('td', {}, whole(n))))));
    scroll.hidden = points.length === 0;
    set_text(note, points.length === 0 ? 'No clicks in this time.'
      : answer.series.length > points.length ? `The last ${points.length} of ${whole(answer.series.length)}.` : '');
    note.hidden = !note.textContent;
  }
  return { node, show };
}

function dimension(name, figures) {
  const shown = figures.values.slice(0, kShown).map(({ value, clicks }) => [value_name(name, value), clicks, '']);
  const other = figures.other + figures.values.slice(kShown).reduce((sum, { clicks }) => sum + clicks, 0);
  if (other) shown.push(['others', other, 'rest']);
  if (figures.none) shown.push([kNone[name] ?? 'none', figures.none, 'rest']);
  const sum = shown.reduce((all, [, clicks]) => all + clicks, 0);
  return el('section', { class: 'dimension', 'data-dimension': name }, el('h3', {}, kNames[name] ?? name),
    el('ul', {}, ...shown.map(([label, clicks, kind]) => {
      const share = sum ? clicks / sum : 0;
      const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
      bar.style.setProperty('--share', `${(share * 100).toFixed(1)}%`);
      return el('li', { class: kind }, bar, el('span', { class: 'label', title: label }, label),
        el('span', { class: 'amount' }, whole(clicks), el('span', { class: 'share' }, ` ${Math.round(share * 100)} %`)));
    })));
}

function totals(answer) {
  const asked = [['clicks', answer.clicks, 'of people'], ['visitors', answer.visitors, 'different people, about'], ['bots', answer.bots, 'clicks of programs']];
  return el('dl', { class: 'totals' }, ...asked.map(([name, n, meaning]) =>
    el('div', { 'data-total': name, title: meaning }, el('dt', {}, name), el('dd', {}, whole(n)))));
}

export function start_stats() {
  const dialog = $('stats');
  const form = $('stats-form');
  const fields = form.elements;
  const live = live_clicks($('live-one'));
  const box = $('stats-answer');
  const figures = click_table();
  prepare_dialog(dialog);
  let name = '';
  let asked = 0;    // answers to earlier questions are dropped
  let timer = 0;
  let last = '';

  const span = () => {
    if (fields.range.value !== 'own') return Number(fields.range.value);
    return (new Date(fields.to.value) - new Date(fields.from.value)) / 1000;
  };

  // What a step can show: at most so many, and minutes for the two days that they are kept.
  function fit_steps(choose) {
    const seconds = span();
    for (const option of fields.step.options) {
      option.disabled = seconds / kSeconds[option.value] > kMostSteps || (option.value === 'minute' && seconds > 2 * 86400);
    }
    if (choose) fields.step.value = seconds <= 7200 ? 'minute' : seconds <= 3 * 86400 ? 'hour' : 'day';
    if (fields.step.selectedOptions[0]?.disabled) fields.step.value = 'day';
  }

  function question() {
    const query = { step: fields.step.value, bots: fields.bots.value };
    if (fields.range.value === 'own') {
      const [from, to] = [from_local_input(fields.from.value), from_local_input(fields.to.value)];
      if (from) query.from = from;
      if (to) query.to = to;
    } else {
      query.from = new Date(Date.now() - span() * 1000).toISOString();
    }
    return query;
  }

  function show(answer) {
    const { from, to, ...rest } = answer;
    const text = JSON.stringify([rest, from.slice(0, 16), to.slice(0, 16)]);
    if (text === last) return;  // nothing is drawn anew under the reader's eyes
    last = text;
    const by = Object.entries(answer.by).filter(([, found]) => found.values.length || found.other);
    const parts = el('div', { class: 'dimensions' }, ...by.map(([dimension_name, found]) => dimension(dimension_name, found)));
    for (const part of [...box.children]) if (part !== figures.node) part.remove();
    figures.show(answer);
    if (!figures.node.isConnected) box.append(figures.node);
    figures.node.before(totals(answer), chart(answer));
    figures.node.after(by.length ? parts : el('p', { class: 'empty' }, 'No clicks to tell apart in this time.'));
  }

  async function load() {
    clearTimeout(timer);
    asked += 1;
    const mine = asked;
    box.setAttribute('aria-busy', 'true');
    try {
      const answer = await api.stats(name, question());
      if (mine !== asked) return;
      $('stats-error').hidden = true;
      show(answer);
      set_text($('stats-status'), 'Usually less than a second behind, under heavy load up to 15 seconds. Days are those of UTC.');
    } catch (problem) {
      if (mine !== asked) return;
      set_text($('stats-error'), problem.message);
      $('stats-error').hidden = false;
    }
    box.setAttribute('aria-busy', 'false');
    if (dialog.open) timer = setTimeout(load, kRefresh);
  }

  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', (event) => {
    const own = fields.range.value === 'own';
    if (event.target === fields.range && own && !fields.from.value) {
      fields.from.value = to_local_input(new Date(Date.now() - 7 * 86400e3));
      fields.to.value = to_local_input(new Date(Date.now() + 60e3));
    }
    for (const node of form.querySelectorAll('.own')) node.hidden = !own;
    fit_steps(event.target !== fields.step && event.target !== fields.bots);
    load();
  });
  $('stats-live').addEventListener('toggle', () => {
    if ($('stats-live').open) live.watch(name);
    else live.stop();
  });
  dialog.addEventListener('close', () => {
    clearTimeout(timer);
    asked += 1;
    live.stop();
    $('stats-live').open = false;
  });

  function open(link) {
    name = link ? api.name_of(link) : '';
    last = '';
    set_text($('stats-title'), link ? `Statistics of ${link.title || link.code}` : 'Statistics of all links');
    set_text($('stats-short'), link ? without_scheme(link.short_url) : '');
    $('stats-short').hidden = !link;
    box.replaceChildren();
    figures.node.open = false;
    $('stats-error').hidden = true;
    set_text($('stats-status'), 'Reading');
    fit_steps(false);
    dialog.showModal();
    fields.range.focus();
    load();
  }

  $('stats-all').addEventListener('click', () => open(null));
  live_clicks($('live-all'));
  return open;
}
