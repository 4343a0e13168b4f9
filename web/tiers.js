// The tiers of the node, drawn as the path of a request, with the figures each one publishes every second. A tier or
// a figure that this page has never heard of is shown as well, by its name. When the node is gone everything stands
// still and says so.

import * as api from './api.js';
import { $, el, set_text, svg } from './dom.js';
import { duration, figure_label, figure_meaning, figure_value } from './format.js';
import { every } from './poll.js';

const kSamples = 60;
const kGolden = ['p50_ms', 'p99_ms', 'errors_per_second'];

// Which figure stands large, which ones stand under it; `from` borrows the figures of another tier.
const kShapes = {
  clients: { kind: 'outside', large: 'in_flight', rows: [], from: 'edge', own: false },
  edge: { kind: 'http/1.1', large: 'requests_per_second', rows: kGolden, except: ['in_flight'] },
  links: { kind: 'service', large: 'requests_per_second', rows: kGolden },
  cache: { kind: 'memory', large: 'hit_ratio', rows: ['requests_per_second', 'objects', 'bytes'] },
  store: { kind: 'sqlite', large: 'requests_per_second', rows: kGolden },
  clicks: {
    kind: 'event log', large: 'requests_per_second', label: 'clicks/s', rows: ['p99_ms', 'errors_per_second'],
    except: ['p50_ms', 'queue_depth', 'oldest_seconds'],
  },
  worker: { kind: 'counts clicks', large: 'queue_depth', rows: ['oldest_seconds'], from: 'clicks', own: false },
};
const kGeneric = { kind: '', large: 'requests_per_second', rows: [] };

class Box {
  constructor(node, shape) {
    this.shape = shape;
    this.node = node;
    this.samples = [];
    this.cells = new Map();
    this.kind = el('p', { class: 'kind' }, shape.kind);
    this.large = el('b', {}, '–');
    this.unit = el('span', {}, shape.label ?? figure_label(shape.large));
    this.line = svg('polyline', { 'vector-effect': 'non-scaling-stroke' });
    this.area = svg('polygon', {});
    this.list = el('dl', {});
    node.append(this.kind,
      el('p', { class: 'large', title: figure_meaning(shape.large), 'data-figure': shape.large },
        this.large, ' ', this.unit),
      svg('svg', {
        class: 'spark', viewBox: `0 0 ${kSamples - 1} 24`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
      }, this.area, this.line),
      this.list);
    for (const name of shape.rows) this.row(name);
  }

  row(name) {
    if (!this.cells.has(name)) {
      const value = el('dd', {}, '–');
      this.list.append(el('div', { title: figure_meaning(name), 'data-figure': name },
        el('dt', {}, figure_label(name)), value));
      this.cells.set(name, value);
    }
    return this.cells.get(name);
  }

  show(figures, kind) {
    const { shape } = this;
    if (kind) set_text(this.kind, kind);
    let large = shape.large;
    if (!(large in figures) && shape === kGeneric) {
      large = Object.keys(figures)[0] ?? large;
      set_text(this.unit, figure_label(large));
    }
    set_text(this.large, figure_value(large, figures[large]));
    for (const name of shape.rows) set_text(this.row(name), figure_value(name, figures[name]));
    if (shape.own !== false) {
      for (const name of Object.keys(figures)) {
        if (name === large || shape.except?.includes(name)) continue;
        set_text(this.row(name), figure_value(name, figures[name]));
      }
    }
    if ('errors_per_second' in figures && this.cells.has('errors_per_second')) {
      this.cells.get('errors_per_second').classList.toggle('bad', figures.errors_per_second > 0);
    }
    this.node.classList.toggle('flowing', (figures.requests_per_second ?? 0) > 0);
    this.sample(typeof figures[large] === 'number' ? figures[large] : null, large);
  }

  sample(value, name) {
    this.samples.push(value);
    if (this.samples.length > kSamples) this.samples.shift();
    const known = this.samples.filter((v) => v !== null);
    if (known.length < 2) return;
    const top = name.endsWith('ratio') ? 1 : Math.max(1, ...known);
    const start = kSamples - this.samples.length;
    const points = [];
    this.samples.forEach((v, at) => {
      if (v !== null) points.push(`${start + at},${(22 - (v / top) * 20).toFixed(2)}`);
    });
    this.line.setAttribute('points', points.join(' '));
    const first = points[0].split(',')[0];
    this.area.setAttribute('points', `${first},24 ${points.join(' ')} ${kSamples - 1},24`);
  }
}

export function start_tiers() {
  const section = $('tiers');
  const boxes = new Map();
  const others = new Map();
  for (const node of section.querySelectorAll('.tier')) {
    boxes.set(node.dataset.tier, new Box(node, kShapes[node.dataset.tier]));
  }

  function show_node(status) {
    const facts = [
      ['Node', status.node],
      ['Up for', typeof status.uptime_seconds === 'number' ? duration(status.uptime_seconds) : null],
      ['Cores', status.cores],
      ['I/O', status.io],
    ].filter(([, value]) => value !== null && value !== undefined && value !== '');
    const list = $('node');
    if (list.children.length !== facts.length) {
      list.replaceChildren(...facts.map(([name]) => el('div', {}, el('dt', {}, name), el('dd', {}))));
    }
    facts.forEach(([, value], at) => set_text(list.children[at].lastChild, String(value)));
    set_text($('about'), `Trellis ${status.version ?? ''}`.trim());
  }

  function show_tiers(tiers) {
    const by_id = new Map(tiers.map((tier) => [tier.id, tier]));
    for (const [id, box] of boxes) {
      const tier = by_id.get(id) ?? by_id.get(box.shape.from);
      box.node.classList.toggle('absent', !tier);
      if (tier) box.show(tier.figures ?? {}, tier.id === id ? tier.kind : '');
    }
    for (const tier of tiers) {
      if (boxes.has(tier.id)) continue;
      if (!others.has(tier.id)) {
        const node = el('article', { class: 'tier', 'data-tier': tier.id }, el('h3', {}, tier.name || tier.id));
        $('others').append(node);
        others.set(tier.id, new Box(node, kGeneric));
      }
      others.get(tier.id).show(tier.figures ?? {}, tier.kind);
    }
    for (const [id, box] of others) {
      if (by_id.has(id)) continue;
      box.node.remove();
      others.delete(id);
    }
    $('others').hidden = others.size === 0;
  }

  function show_reached(reached, name) {
    document.body.classList.toggle('unreachable', !reached);
    $('pulse').classList.toggle('live', reached);
    set_text($('pulse-text'), reached ? `${name || 'Node'} is live` : 'Node not reachable, retrying');
    set_text($('tiers-note'), reached
      ? 'The path of a request, live. The questions of this page are counted too.'
      : 'Standing still: the node is not reachable, retrying.');
  }

  every(1000, async () => {
    try {
      const status = await api.status();
      show_reached(true, status.node);
      show_node(status);
      show_tiers(Array.isArray(status.tiers) ? status.tiers : []);
      return true;
    } catch {
      show_reached(false);
      return false;
    }
  });
}
