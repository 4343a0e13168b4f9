// The list of links. What is shown is what the node last said: the pages that are on the screen are asked for again
// every two seconds, rows are changed in place, and a row that vanished on the node vanishes here.

import * as api from './api.js';
import { $, announce, copy_button, el, set_text, svg } from './dom.js';
import { edit_dialog, qr_dialog, remove_dialog } from './dialogs.js';
import { absolute_time, middle, relative_time, whole, without_scheme } from './format.js';
import { every } from './poll.js';

const kPage = 20;
const kRefresh = 2000;
const kCountingFor = 10000;

export function start_links({ on_link, on_gone, extra, open_stats }) {
  const body = $('rows');
  const ask_edit = edit_dialog();
  const ask_remove = remove_dialog();
  const show_qr = qr_dialog();
  const rows = new Map();       // name -> {link, node, ...cells}; insertion order is not used, the DOM holds the order
  let cursors = [null];         // where each loaded page begins
  let next = null;              // where the page after the last one begins
  let query = '';
  let tag = '';
  let generation = 0;           // answers to what was asked before a change of ours are dropped
  let restart = false;          // the next answer replaces all rows: it belongs to another search
  let loaded = false;

  function make_row(link) {
    const row = { link, counting: 0 };
    const name = without_scheme(link.short_url);
    row.anchor = el('a', {
      class: 'mono', href: link.short_url, target: '_blank', rel: 'noopener', title: link.short_url,
    }, el('span', { class: 'host' }, name.slice(0, name.length - link.code.length)),
      el('span', { class: 'code' }, link.code),
      el('span', { class: 'visually-hidden' }, ' (opens in a new tab)'));
    for (const how of ['click', 'auxclick']) row.anchor.addEventListener(how, () => follow(api.name_of(link)));
    row.lock = el('span', { class: 'lock', title: 'Asks for a password' },
      svg('svg', { viewBox: '0 0 16 16', width: 14, height: 14, 'aria-hidden': 'true' },
        svg('rect', { x: 3, y: 7, width: 10, height: 7, rx: 1.5 }), svg('path', { d: 'M5 7V5a3 3 0 0 1 6 0v2' })),
      el('span', { class: 'visually-hidden' }, 'asks for a password'));
    row.title = el('span', { class: 'title' });
    row.head = el('span', { class: 'm-head' });
    row.tail = el('span', { class: 'm-tail' });
    row.target = el('span', { class: 'middle' }, row.head, row.tail);
    row.clicks = el('b', { class: 'count' });
    row.created = el('time', {});
    row.expiry = el('span', { class: 'expiry' });
    row.tags = el('span', { class: 'tags', hidden: true });
    const stats = el('button', { type: 'button', class: 'stats', 'aria-label': `Statistics of ${link.code}` }, 'Stats');
    const qr = el('button', { type: 'button', class: 'qr', 'aria-label': `QR code of ${link.code}` }, 'QR');
    stats.addEventListener('click', () => open_stats(row.link));
    qr.addEventListener('click', () => show_qr(row.link));
    const edit = el('button', { class: 'edit', type: 'button', 'aria-label': `Edit ${link.code}` }, 'Edit');
    const remove = el('button', {
      type: 'button', class: 'quiet-danger', 'aria-label': `Delete ${link.code}`,
    }, 'Delete');
    edit.addEventListener('click', () => change(row, edit));
    remove.addEventListener('click', () => drop(row));
    row.edit = edit;
    row.node = el('tr', { role: 'row', 'data-code': link.code, 'data-name': api.name_of(link) },
      el('td', { role: 'cell', class: 'c-short' },
        el('div', { class: 'short-cell' }, row.anchor, row.lock, copy_button(link.short_url, { name: `Copy ${name}` }))),
      el('td', { role: 'cell', class: 'c-target' }, row.title, row.target, row.tags),
      el('td', { role: 'cell', class: 'c-clicks' }, row.clicks, el('span', { class: 'unit', 'aria-hidden': 'true' })),
      el('td', { role: 'cell', class: 'c-created' }, row.created),
      el('td', { role: 'cell', class: 'c-expiry' }, row.expiry),
      el('td', { role: 'cell', class: 'c-actions' }, stats, qr, edit, remove));
    rows.set(api.name_of(link), row);
    show_row(row, link);
    return row;
  }

  function show_row(row, link) {
    if (link.clicks !== row.link.clicks) {
      row.counting = 0;
      row.clicks.classList.remove('bump');
      requestAnimationFrame(() => row.clicks.classList.add('bump'));
    }
    row.link = link;
    const [head, tail] = middle(without_scheme(link.url));
    set_text(row.head, head);
    set_text(row.tail, tail);
    row.target.title = link.url;
    set_text(row.title, link.title ?? '');
    row.title.hidden = !link.title;
    row.lock.hidden = !link.has_password;
    show_tags(row, link.tags ?? []);
    set_text(row.clicks, whole(link.clicks));
    row.node.querySelector('.unit').textContent = link.clicks === 1 ? 'click' : 'clicks';
    row.created.dateTime = link.created_at;
    row.created.title = absolute_time(link.created_at);
    show_times(row);
    on_link(link);
  }

  function show_tags(row, tags) {
    if (row.shown_tags === tags.join()) return;
    row.shown_tags = tags.join();
    row.tags.hidden = tags.length === 0;
    row.tags.replaceChildren(...tags.map((name) => {
      const made = el('button', { type: 'button', class: 'tag', 'aria-label': `Show links with the tag ${name}` }, name);
      made.addEventListener('click', () => filter(name));
      return made;
    }));
  }

  function show_times(row) {
    const { link } = row;
    set_text(row.created, relative_time(link.created_at));
    const past = link.expires_at && new Date(link.expires_at) <= new Date();
    row.expiry.classList.toggle('past', Boolean(past));
    row.node.classList.toggle('expired', Boolean(past));
    set_text(row.expiry, !link.expires_at ? 'never' : past ? 'expired' : relative_time(link.expires_at));
    row.expiry.title = link.expires_at ? absolute_time(link.expires_at) : '';
    row.node.classList.toggle('counting', row.counting > Date.now());
  }

  function forget(row) {
    rows.delete(api.name_of(row.link));
    row.node.remove();
  }

  function show_state() {
    body.setAttribute('aria-busy', String(!loaded));
    const none = loaded && rows.size === 0;
    $('table').hidden = none;
    $('empty').hidden = !none;
    if (none) {
      const lines = tag && !query
        ? [el('b', {}, 'Nothing found'), el('p', {}, `No link has the tag “${tag}”.`)]
        : query
        ? [el('b', {}, 'Nothing found'), el('p', {}, `No link has “${query}” in its code, target or title${tag ? ` and the tag “${tag}”` : ''}.`)]
        : [el('b', {}, 'No links yet'), el('p', {}, 'The first one you shorten appears here, with its clicks.')];
      $('empty').replaceChildren(...lines);
    }
    $('more-row').hidden = !next;
    const count = `${whole(rows.size)}${next ? '+' : ''} ${rows.size === 1 && !next ? 'link' : 'links'}`;
    set_text($('links-note'), !loaded ? '' : query || tag ? `${count} found` : rows.size ? count : '');
  }

  // Lays one page of the node's answer over the rows there are. The answer is a stretch of the whole order, so a row
  // of ours that lies inside that stretch and is not in it has been deleted.
  function merge(items, first_page, last_page) {
    const names = new Set(items.map(api.name_of));
    let at = first_page ? body.firstElementChild : (items.length ? rows.get(api.name_of(items[0]))?.node : null) ?? null;
    for (const link of items) {
      while (at && !names.has(at.dataset.name)) {
        const gone = at;
        at = at.nextElementSibling;
        if (rows.has(gone.dataset.name)) forget(rows.get(gone.dataset.name));
        else gone.remove();
      }
      const row = rows.get(api.name_of(link));
      if (row && row.node === at) {
        show_row(row, link);
        at = at.nextElementSibling;
      } else if (row) {
        show_row(row, link);
      } else {
        const made = make_row(link);
        body.insertBefore(made.node, at);
      }
    }
    if (last_page) {
      while (at) {
        const gone = at;
        at = at.nextElementSibling;
        if (rows.has(gone.dataset.name)) forget(rows.get(gone.dataset.name));
        else gone.remove();
      }
    }
  }

  async function fetch_page(index) {
    const mine = generation;
    const answer = await api.list_links({ limit: kPage, cursor: cursors[index], q: query, tag });
    if (mine !== generation) return false;
    loaded = true;
    const last = index === cursors.length - 1;
    merge(answer.items, index === 0, last && (restart || !answer.next));
    restart = false;
    if (last) next = answer.next;
    else if (answer.next) cursors[index + 1] = answer.next;
    else {
      cursors = cursors.slice(0, index + 1);
      next = null;
    }
    show_state();
    return true;
  }

  function pages_on_screen() {
    const height = window.innerHeight;
    const pages = new Set([0]);
    let index = 0;
    for (const node of body.children) {
      const box = node.getBoundingClientRect();
      if (box.bottom > 0 && box.top < height) pages.add(Math.min(Math.floor(index / kPage), cursors.length - 1));
      index += 1;
    }
    return [...pages].sort((a, b) => a - b);
  }

  async function refresh() {
    try {
      for (const page of pages_on_screen()) {
        if (page < cursors.length) await fetch_page(page);
      }
      const beside = extra();
      if (beside && !rows.has(beside)) {
        const answer = await api.get_link(beside).catch((problem) => {
          if (problem.status === 404 || problem.status === 410) on_gone(beside);
          return null;
        });
        if (answer) on_link(answer.data);
      }
      for (const row of rows.values()) show_times(row);
      return true;
    } catch (problem) {
      if (!loaded) {
        $('table').hidden = true;
        $('empty').hidden = false;
        $('empty').replaceChildren(el('b', {}, 'The list could not be read'),
          el('p', {}, problem.status ? problem.message : 'The node is not reachable, retrying.'));
      }
      return false;
    }
  }

  function follow(name) {
    const row = rows.get(name);
    if (row) {
      row.counting = Date.now() + kCountingFor;
      show_times(row);
    }
    for (const delay of [400, 1000]) setTimeout(turn, delay);
  }

  async function change(row, button) {
    try {
      const link = await ask_edit(api.name_of(row.link));
      if (link) {
        generation += 1;
        show_row(row, link);
      }
    } catch (problem) {
      announce(problem.message);
      set_text($('links-note'), problem.message);
      if (problem.status === 404 || problem.status === 410) turn();
    }
    if (document.activeElement === document.body) button.focus();  // somebody quick is elsewhere by now
  }

  async function drop(row) {
    if (!(await ask_remove(row.link))) return;
    const neighbour = row.node.nextElementSibling ?? row.node.previousElementSibling;
    generation += 1;
    forget(row);
    on_gone(api.name_of(row.link));
    const beside = neighbour && rows.get(neighbour.dataset.name);
    (beside ? beside.edit : $('search')).focus();
    show_state();
    turn();
  }

  function start_again() {
    generation += 1;
    restart = true;
    cursors = [null];
    next = null;
    turn();
  }

  function search(text) {
    if (text === query) return;
    query = text;
    start_again();
  }

  function filter(name) {
    if (name === tag) return;
    tag = name;
    $('tag-filter').hidden = !tag;
    set_text($('tag-filter-text'), tag);
    if (tag) $('tag-clear').focus();
    else $('search').focus();
    start_again();
  }

  $('tag-clear').addEventListener('click', () => filter(''));

  let typing = 0;
  $('search').addEventListener('input', (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => search(event.target.value.trim()), 200);
  });

  $('load-more').addEventListener('click', async (event) => {
    if (!next || event.target.getAttribute('aria-busy') === 'true') return;
    const last = body.lastElementChild;
    const cursor = next;
    const take_back = () => { if (cursors.length > 1 && cursors.at(-1) === cursor) cursors.pop(); };
    event.target.setAttribute('aria-busy', 'true');
    cursors.push(cursor);
    try {
      if (!(await fetch_page(cursors.length - 1))) {
        take_back();
        return;
      }
      const first = last?.nextElementSibling;
      if (first && !next) first.querySelector('a').focus();  // the button that had the focus is gone
      announce(`${whole(rows.size)} links shown`);
    } catch (problem) {
      take_back();
      announce(problem.message);
      set_text($('links-note'), problem.message);
    } finally {
      event.target.removeAttribute('aria-busy');
    }
  });

  for (let at = 0; at < 3; at += 1) {
    body.append(el('tr', { role: 'row', class: 'ghost', 'aria-hidden': 'true' },
      el('td', { colspan: '6' }, el('span', {}))));
  }

  const turn = every(kRefresh, refresh);
  setInterval(() => { for (const row of rows.values()) show_times(row); }, 1000);

  return {
    follow,
    refresh: turn,
    // A link this page has just made: shown at once, on top, with what the node answered.
    add(link) {
      generation += 1;
      if (query || tag) {
        clearTimeout(typing);
        $('search').value = '';
        query = '';
        tag = '';
        $('tag-filter').hidden = true;
        start_again();
      } else if (!rows.has(api.name_of(link))) {
        if (!loaded) body.replaceChildren();
        loaded = true;
        body.prepend(make_row(link).node);
        show_state();
      }
      const row = rows.get(api.name_of(link));
      row?.node.classList.add('fresh');
      turn();
    },
  };
}
