// The form that makes a link, and the card that shows the link it made with its clicks as they are counted.

import * as api from './api.js';
import { $, announce, copy_button, el, set_text } from './dom.js';
import { prepare_form, show_at, show_problem, with_scheme } from './fields.js';
import { absolute_time, from_local_input, middle, relative_time, whole, without_scheme } from './format.js';

let shown = null;  // the link on the card: {link, clicks, when}

function show_card(link, on_follow) {
  const clicks = el('b', { class: 'count' }, whole(link.clicks));
  const unit = el('span', {}, link.clicks === 1 ? 'click' : 'clicks');
  const expiry = el('span', { class: 'note' });
  const name = without_scheme(link.short_url);
  const [head, tail] = middle(link.url, 18);
  const anchor = el('a', {
    class: 'short mono', href: link.short_url, target: '_blank', rel: 'noopener', id: 'result-short',
  }, el('span', { class: 'host' }, name.slice(0, name.length - link.code.length)), el('wbr'),
  el('span', { class: 'code' }, link.code), el('span', { class: 'visually-hidden' }, ' (opens in a new tab)'));
  anchor.addEventListener('click', () => on_follow(api.name_of(link)));
  anchor.addEventListener('auxclick', () => on_follow(api.name_of(link)));
  $('result-link').replaceChildren(
    el('h2', {}, 'Your short link'),
    el('p', { class: 'short-row' }, anchor, copy_button(link.short_url, { name: 'Copy the short link' })),
    el('p', { class: 'middle note', title: link.url },
      el('span', { class: 'm-head' }, head), el('span', { class: 'm-tail' }, tail)),
    el('p', { class: 'counter' }, clicks, unit, expiry));
  $('result-empty').hidden = true;
  $('result-link').hidden = false;
  shown = { link, clicks, unit, expiry };
  update_card(link);
}

export const card_name = () => (shown ? api.name_of(shown.link) : null);

// Called with every fresh copy of a link that the page receives.
export function update_card(link) {
  if (!shown || api.name_of(shown.link) !== api.name_of(link)) return;
  if (link.clicks !== shown.link.clicks) {
    shown.clicks.classList.remove('bump');
    requestAnimationFrame(() => shown.clicks.classList.add('bump'));
  }
  if (link.url !== shown.link.url) {
    const [head, tail] = middle(link.url, 18);
    const line = $('result-link').querySelector('.middle');
    line.title = link.url;
    set_text(line.firstChild, head);
    set_text(line.lastChild, tail);
  }
  shown.link = link;
  set_text(shown.clicks, whole(link.clicks));
  set_text(shown.unit, link.clicks === 1 ? 'click' : 'clicks');
  if (link.expires_at) {
    const past = new Date(link.expires_at) <= new Date();
    set_text(shown.expiry, `${past ? 'expired' : 'expires'} ${relative_time(link.expires_at)}`);
    shown.expiry.title = absolute_time(link.expires_at);
  } else {
    set_text(shown.expiry, link.clicks ? '' : link.has_password ? 'Asks for its password.' : 'Open it to see it counted.');
  }
}

export function forget_card(name) {
  if (!shown || api.name_of(shown.link) !== name) return;
  shown = null;
  $('result-link').hidden = true;
  $('result-link').replaceChildren();
  $('result-empty').hidden = false;
}

// on_created(link) after the node has acknowledged it; on_follow(name) when its short link is opened from the card.
export function start_create({ on_created, on_follow }) {
  const form = $('create');
  const fields = form.elements;
  let last = { text: '', key: '' };

  prepare_form(form, async () => {
    const url = with_scheme(fields.url.value);
    if (!url) {
      show_at(fields.url, 'Enter the address to shorten.');
      return;
    }
    fields.url.value = url;
    const body = { url, status: Number(fields.status.value) };
    if (fields.alias.value.trim()) body.alias = fields.alias.value.trim();
    if (fields.title.value.trim()) body.title = fields.title.value.trim();
    const expires_at = from_local_input(fields.expires_at.value);
    if (expires_at) body.expires_at = expires_at;
    if (fields.password.value) body.password = fields.password.value;
    if (fields.domain.value) body.domain = fields.domain.value;
    const text = JSON.stringify(body);
    if (text !== last.text) last = { text, key: api.fresh_key() };
    try {
      const link = await api.create_link(body, last.key);
      last = { text: '', key: '' };
      const domain = fields.domain.value;
      form.reset();
      fields.domain.value = domain;  // who makes several makes them on the same one
      show_card(link, on_follow);
      announce(`Short link ready: ${link.short_url}`);
      $('result-short').focus({ preventScroll: true });
      $('result').scrollIntoView({ block: 'nearest' });
      on_created(link);
    } catch (problem) {
      if (problem.status) last = { text: '', key: '' };
      show_problem(form, problem);
    }
  });
}
