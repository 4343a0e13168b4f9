// The editor of a link's rules: cards that can be added, removed and put in another order, or the same as JSON. The
// rules are kept as the API writes them; what this editor does not touch goes back as it came.

import { announce, el, set_text } from './dom.js';
import { from_local_input, to_local_input } from './format.js';

const kLists = {
  device: ['Device', 'desktop, phone, tablet, tv, bot'],
  os: ['System', 'windows, macos, linux, chromeos, android, ios, ipados'],
  browser: ['Browser', 'chrome, safari, firefox, edge, opera, samsung'],
  language: ['Language', 'de, pt-BR'],
  country: ['Country', 'DE, AT'],
  address: ['Address', '192.0.2.0/24, 2001:db8::/32'],
};
const kKinds = { ...Object.fromEntries(Object.entries(kLists).map(([name, [label]]) => [name, label])),
  query: 'Query', date: 'Date' };
const kWants = [['present', 'is there'], ['equals', 'equals'], ['value', 'has a value'], ['no_value', 'is empty']];

export const parted = (text) => text.split(',').map((part) => part.trim()).filter(Boolean);

const empty_condition = (kind) => ({ [kind]: kind === 'query' ? { name: '' } : kind === 'date' ? {} : [] });

function choice(options, value, name, on_change) {
  const select = el('select', { 'aria-label': name }, ...options.map(([id, label]) => el('option', { value: id }, label)));
  select.value = value;
  select.addEventListener('change', () => on_change(select.value));
  return select;
}

function text_input(value, name, attributes, on_input) {
  const input = el('input', { type: 'text', 'aria-label': name, spellcheck: 'false', autocapitalize: 'off', ...attributes });
  input.value = value;
  input.addEventListener('input', () => on_input(input.value));
  return input;
}

function button(label, name, on_click, attributes = {}) {
  const made = el('button', { type: 'button', 'aria-label': name, ...attributes }, label);
  made.addEventListener('click', on_click);
  return made;
}

function want_of(query) {
  if ('equals' in query) return 'equals';
  if ('has_value' in query) return query.has_value ? 'value' : 'no_value';
  return 'present';
}

// Gives back {set(rules), rules()}; rules() throws an Error with a readable message when the JSON is none.
export function rules_editor(place, { on_count }) {
  let rules = [];
  const cards = el('ol', { class: 'rules' });
  const json = el('textarea', { 'aria-label': 'Rules as JSON', rows: '12', spellcheck: 'false', class: 'mono' });
  const json_error = el('p', { class: 'error', role: 'alert' });
  const json_box = el('div', { hidden: true }, json, json_error);
  const add = button('Add a rule', null, () => {
    rules.push({ when: [empty_condition('device')], url: '' });
    draw();
    focus_on(`[data-rule="${rules.length - 1}"] select`);
  }, { class: 'add-rule' });
  const toggle = button('As JSON', null, () => (json_box.hidden ? to_json() : from_json()), { 'aria-pressed': 'false', class: 'as-json' });
  place.append(cards, json_box, el('p', { class: 'buttons start' }, add, toggle));

  const focus_on = (selector) => (cards.querySelector(selector) ?? add).focus();

  function to_json() {
    json.value = JSON.stringify(rules, null, 2);
    set_text(json_error, '');
    show_mode(true);
    json.focus();
  }

  function parse() {
    const parsed = JSON.parse(json.value.trim() || '[]');
    if (!Array.isArray(parsed)) throw new Error('The rules must be a list.');
    return parsed;
  }

  function from_json() {
    try {
      const parsed = parse();
      const known = parsed.every((rule) => rule && typeof rule === 'object' && (rule.when ?? []).every((condition) =>
        condition && Object.keys(condition).length === 1 && Object.keys(condition)[0] in kKinds));
      if (!known) throw new Error('There is a condition that only JSON can show here.');
      rules = parsed;
    } catch (error) {
      set_text(json_error, error.message);
      json.focus();
      return;
    }
    show_mode(false);
    draw();
    toggle.focus();
  }

  function show_mode(as_json) {
    json_box.hidden = !as_json;
    cards.hidden = as_json;
    add.hidden = as_json;
    toggle.setAttribute('aria-pressed', String(as_json));
  }

  function values(kind, condition, name) {
    const value = condition[kind];
    if (kind in kLists) {
      return [text_input(value.join(', '), name, { placeholder: kLists[kind][1] }, (text) => {
        condition[kind] = kind === 'country' ? parted(text).map((code) => code.toUpperCase()) : parted(text);
      })];
    }
    if (kind === 'query') {
      const equals = text_input(value.equals ?? '', `${name}: value`, { placeholder: 'value' }, (text) => { value.equals = text; });
      equals.hidden = want_of(value) !== 'equals';
      return [
        text_input(value.name, `${name}: parameter`, { placeholder: 'parameter' }, (text) => { value.name = text; }),
        choice(kWants, want_of(value), `${name}: holds when`, (want) => {
          delete value.equals;
          delete value.has_value;
          if (want === 'equals') value.equals = equals.value;
          if (want === 'value' || want === 'no_value') value.has_value = want === 'value';
          equals.hidden = want !== 'equals';
        }), equals];
    }
    return ['from', 'before'].map((end) => {
      const input = text_input(to_local_input(value[end]), `${name}: ${end}`, { type: 'datetime-local' }, (text) => {
        if (text) value[end] = from_local_input(text);
        else delete value[end];
      });
      return el('label', { class: 'inline' }, el('span', {}, end), input);
    });
  }

  function condition_row(rule, at, where) {
    const condition = rule.when[where];
    const kind = Object.keys(condition)[0];
    const name = `Rule ${at + 1}, condition ${where + 1}`;
    return el('li', { class: 'condition', 'data-condition': String(where) },
      choice(Object.entries(kKinds), kind, name, (chosen) => {
        rule.when[where] = empty_condition(chosen);
        draw();
        focus_on(`[data-rule="${at}"] [data-condition="${where}"] select`);
      }),
      ...values(kind, condition, `${name}: ${kKinds[kind]}`),
      button('×', `Remove ${name.toLowerCase()}`, () => {
        rule.when.splice(where, 1);
        draw();
        focus_on(`[data-rule="${at}"] .add-condition`);
      }));
  }

  function target_rows(rule, at) {
    if (!rule.split) {
      return [text_input(rule.url ?? '', `Rule ${at + 1}: target`, { type: 'url', inputmode: 'url', placeholder: 'https://example.com/' },
        (text) => { rule.url = text; })];
    }
    const rows = rule.split.map((part, where) => {
      const name = `Rule ${at + 1}, target ${where + 1}`;
      return el('li', { class: 'part' },
        text_input(part.url, name, { type: 'url', inputmode: 'url', placeholder: 'https://example.com/' }, (text) => { part.url = text; }),
        text_input(String(part.weight), `${name}: weight`, { type: 'number', min: '1', class: 'weight' }, (text) => { part.weight = Number(text); }),
        rule.split.length > 2 ? button('×', `Remove ${name.toLowerCase()}`, () => {
          rule.split.splice(where, 1);
          draw();
          focus_on(`[data-rule="${at}"] .add-target`);
        }) : null);
    });
    return [el('ul', {}, ...rows), button('Add a target', `Rule ${at + 1}: add a target`, () => {
      rule.split.push({ url: '', weight: 1 });
      draw();
      focus_on(`[data-rule="${at}"] .part:last-child input`);
    }, { class: 'add-target' })];
  }

  function move(at, by) {
    const [rule] = rules.splice(at, 1);
    rules.splice(at + by, 0, rule);
    draw();
    focus_on(`[data-rule="${at + by}"] ${by < 0 ? '.up' : '.down'}:not([disabled]), [data-rule="${at + by}"] .up, [data-rule="${at + by}"] .down`);
    announce(`Rule ${at + 1} is rule ${at + by + 1} now`);
  }

  function card(rule, at) {
    rule.when ??= [];
    const name = `rule ${at + 1}`;
    return el('li', { class: 'rule', 'data-rule': String(at) },
      el('div', { class: 'rule-head' }, el('b', {}, `Rule ${at + 1}`),
        button('↑', `Move ${name} up`, () => move(at, -1), { class: 'up', disabled: at === 0 }),
        button('↓', `Move ${name} down`, () => move(at, 1), { class: 'down', disabled: at === rules.length - 1 }),
        button('Remove', `Remove ${name}`, () => {
          rules.splice(at, 1);
          draw();
          focus_on(`[data-rule="${Math.min(at, rules.length - 1)}"] select`);
          announce(`Removed ${name}`);
        }, { class: 'remove-rule' })),
      rule.when.length ? el('ul', {}, ...rule.when.map((_, where) => condition_row(rule, at, where)))
        : el('p', { class: 'note' }, 'Without a condition it always holds.'),
      button('Add a condition', `Add a condition to ${name}`, () => {
        rule.when.push(empty_condition('country'));
        draw();
        focus_on(`[data-rule="${at}"] .condition:last-child select`);
      }, { class: 'add-condition' }),
      el('div', { class: 'target' },
        choice([['url', 'leads to'], ['split', 'is split over']], rule.split ? 'split' : 'url', `Rule ${at + 1}: kind of target`, (kind) => {
          if (kind === 'split') {
            rule.split = [{ url: rule.url ?? '', weight: 1 }, { url: '', weight: 1 }];
            delete rule.url;
          } else {
            rule.url = rule.split[0].url;
            delete rule.split;
          }
          draw();
          focus_on(`[data-rule="${at}"] .target select`);
        }), ...target_rows(rule, at)));
  }

  function draw() {
    cards.replaceChildren(...rules.map(card));
    on_count(rules.length);
  }

  return {
    set(given) {
      rules = structuredClone(given ?? []);
      show_mode(false);
      draw();
    },
    rules() {
      if (!json_box.hidden) return parse();
      return rules.map(({ when, ...target }) => (when.length ? { when, ...target } : target));
    },
  };
}
