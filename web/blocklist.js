// The destinations that may not be linked, for who may manage them.

import * as api from './api.js';
import { $, announce, el, set_text, sure_button } from './dom.js';
import { prepare_dialog } from './dialogs.js';
import { prepare_form, show_at, show_problem } from './fields.js';
import { absolute_time, relative_time } from './format.js';

export function start_blocklist() {
  const dialog = $('blocklist');
  let next = null;  // where the entries go on
  let asked = 0;    // answers to what was asked before the last question are dropped
  prepare_dialog(dialog);

  function entry_row(entry) {
    const remove = sure_button('Unblock', entry.pattern, async () => {
      try {
        await api.unblock(entry.id);
        announce(`Unblocked ${entry.pattern}`);
        row.remove();
        show_count();
        form.elements.pattern.focus();
      } catch (problem) {
        set_text($('blocklist-status'), problem.message);
      }
    });
    const row = el('li', {}, el('div', {}, el('b', { class: 'mono' }, entry.pattern),
      el('p', { class: 'note', title: absolute_time(entry.created_at) },
        `${entry.reason ? `${entry.reason}; ` : ''}since ${relative_time(entry.created_at)}`)), remove);
    return row;
  }

  function show_count() {
    $('blocklist-more-row').hidden = !next;
    set_text($('blocklist-status'), $('blocklist-list').childElementCount ? '' : 'Nothing is blocked here. Entries of the node’s file are not listed.');
  }

  async function load() {
    const mine = asked += 1;
    try {
      const answer = await api.list_blocked(next);
      if (mine !== asked) return;
      $('blocklist-list').append(...answer.items.map(entry_row));
      next = answer.next;
      $('blocklist-manage').hidden = false;
      show_count();
    } catch (problem) {
      set_text($('blocklist-status'), problem.status === 404 ? 'This node has no blocklist.' : problem.message);
    }
  }

  const form = prepare_form($('block-new'), async () => {
    const fields = form.elements;
    // An address that was pasted: what is compared is its host and path.
    const body = { pattern: fields.pattern.value.trim().replace(/^https?:\/\//i, '') };
    if (!body.pattern) {
      show_at(fields.pattern, 'Enter a host, such as example.com.');
      return;
    }
    if (fields.reason.value.trim()) body.reason = fields.reason.value.trim();
    try {
      const entry = await api.block(body);
      form.reset();
      $('blocklist-list').append(entry_row(entry));
      show_count();
      announce(`Blocked ${entry.pattern}`);
      fields.pattern.focus();
    } catch (problem) {
      show_problem(form, problem);
    }
  });

  $('blocklist-more').addEventListener('click', load);
  $('blocklist-open').addEventListener('click', () => {
    next = null;
    $('blocklist-manage').hidden = true;
    $('blocklist-list').replaceChildren();
    form.reset();
    dialog.showModal();
    load();
  });
}
