// API keys: the one that this tab uses, asked for when the node wants one, and the keys of the node for who may manage
// them.

import * as api from './api.js';
import { $, announce, copy_button, el, set_text, sure_button } from './dom.js';
import { prepare_dialog } from './dialogs.js';
import { prepare_form, show_at, show_problem } from './fields.js';
import { absolute_time, from_local_input, relative_time } from './format.js';

const kScopes = { read: 'read', write: 'read and write', admin: 'read, write and manage keys' };
const kMostPages = 100;

// on_key() when another key is used from now on.
export function start_keys({ on_key }) {
  const bar = $('key-bar');
  const dialog = $('keys');
  prepare_dialog(dialog);

  function ask(problem) {
    const why = problem.status === 403 ? problem.message : api.key() ? 'The key of this tab opens nothing here, or no more.'
      : 'Enter one to see and make links.';
    set_text($('key-why'), why);
    bar.hidden = false;
  }
  api.when_key_is_wanted(ask);

  prepare_form($('key-form'), async (form) => {
    const text = form.elements.key.value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      show_at(form.elements.key, text ? 'A key has no spaces and no letters outside ASCII.' : 'Enter a key.');
      return;
    }
    const before = api.key();
    api.use_key(text);
    try {
      await api.list_links({ limit: 1 });
    } catch (problem) {
      api.use_key(before);
      if (problem.status === 401) show_at(form.elements.key, 'This node does not know this key.');
      else show_problem(form, problem);
      return;
    }
    form.reset();
    bar.hidden = true;
    announce('The key is used from now on');
    $('url').focus();
    on_key();
  });

  function key_row(key) {
    const ends = key.expires_at ? `${new Date(key.expires_at) <= new Date() ? 'expired' : 'expires'} ${relative_time(key.expires_at)}` : 'does not expire';
    const used = key.last_used_at ? `used ${relative_time(key.last_used_at)}` : 'never used';
    const revoke = sure_button('Revoke', key.name, async () => {
      let failure = '';
      try {
        await api.delete_key(key.id);
        announce(`Revoked ${key.name}`);
      } catch (problem) {
        failure = problem.message;
      }
      await list();
      if (failure) set_text($('keys-status'), failure);
      $('key-new-name').focus();
    });
    return el('li', { 'data-key': String(key.id) }, el('div', {}, el('b', {}, key.name), ' ', el('span', { class: 'mono note' }, `${key.begins}…`),
      el('p', { class: 'note', title: key.last_used_at ? absolute_time(key.last_used_at) : '' },
        `May ${kScopes[key.scope] ?? key.scope}; ${ends}; ${used}.`)), revoke);
  }

  async function list() {
    $('keys-manage').hidden = true;
    set_text($('keys-own'), api.key() ? `This tab uses a key that begins with ${api.key().slice(0, 8)}.` : 'This tab uses no key.');
    $('key-forget').hidden = !api.key();
    try {
      const keys = [];
      let cursor = null;
      for (let page = 0; page < kMostPages; page += 1) {
        const answer = await api.list_keys(cursor);
        keys.push(...answer.items);
        cursor = answer.next;
        if (!cursor) break;
      }
      $('keys-list').replaceChildren(...keys.map(key_row));
      $('keys-manage').hidden = false;
      set_text($('keys-status'), '');
    } catch (problem) {
      set_text($('keys-status'), problem.code === 'keys_off' ? 'This node answers everybody; it asks for no keys.'
        : problem.status === 404 ? 'This node has no keys to manage.' : problem.message);
    }
  }

  prepare_form($('key-new'), async (form) => {
    const fields = form.elements;
    const body = { name: fields.name.value.trim(), scope: fields.scope.value };
    if (!body.name) {
      show_at(fields.name, 'Enter a name, to know the key again.');
      return;
    }
    const expires_at = from_local_input(fields.expires_at.value);
    if (expires_at) body.expires_at = expires_at;
    try {
      const made = await api.create_key(body);
      form.reset();
      await list();
      $('key-made').replaceChildren(el('p', {}, 'Copy it now; it is shown this once.'),
        el('p', { class: 'made-key' }, el('code', {}, made.key), copy_button(made.key, { name: 'Copy the key' })));
      $('key-made').hidden = false;
      $('key-made').querySelector('button').focus();
    } catch (problem) {
      show_problem(form, problem);
    }
  });

  $('key-change').addEventListener('click', () => {
    dialog.close();
    set_text($('key-why'), 'Enter the key that this tab shall use.');
    bar.hidden = false;
    bar.scrollIntoView({ block: 'center' });
    $('key').focus();
  });
  $('key-forget').addEventListener('click', () => {
    api.use_key('');
    announce('Forgotten');
    dialog.close();
    on_key();
  });
  $('keys-open').addEventListener('click', () => {
    $('key-made').hidden = true;
    $('key-made').replaceChildren();
    dialog.showModal();
    list();
  });
  dialog.addEventListener('close', () => {
    $('key-made').replaceChildren();
    $('key-made').hidden = true;
  });
}
