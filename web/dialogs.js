// The two questions about a link: how to change it, and whether it should really go.

import * as api from './api.js';
import { $, announce, set_text } from './dom.js';
import { clear_error, clear_errors, show_at, show_problem, while_busy, with_scheme } from './fields.js';
import { from_local_input, to_local_input, without_scheme } from './format.js';

function prepare(dialog, submit) {
  const form = dialog.querySelector('form');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clear_errors(form);
    while_busy(form, submit);
  });
  form.addEventListener('input', (event) => clear_error(event.target));
  dialog.querySelector('[data-close]').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();  // the backdrop
  });
  return form;
}

// Gives back ask(link): a promise of the changed link, or null when nothing was changed.
export function edit_dialog() {
  const dialog = $('edit');
  let link = null;
  let etag = null;
  let result = null;

  const form = prepare(dialog, async () => {
    const url = with_scheme(fields.url.value);
    if (!url) {
      show_at(fields.url, 'Enter the address it leads to.');
      return;
    }
    fields.url.value = url;
    const change = {};
    if (url !== link.url) change.url = url;
    if (fields.title.value.trim() !== (link.title ?? '')) change.title = fields.title.value.trim();
    if (Number(fields.status.value) !== link.status) change.status = Number(fields.status.value);
    if (fields.expires_at.value !== to_local_input(link.expires_at)) {
      change.expires_at = from_local_input(fields.expires_at.value);
    }
    if (Object.keys(change).length === 0) {
      dialog.close();
      return;
    }
    try {
      result = await api.change_link(link.code, change, etag);
      announce(`Saved ${link.code}`);
      dialog.close();
    } catch (problem) {
      if (problem.status === 412) await take_newest();
      else show_problem(form, problem);
    }
  });
  const fields = form.elements;

  function show() {
    set_text($('edit-short'), without_scheme(link.short_url));
    fields.url.value = link.url;
    fields.title.value = link.title ?? '';
    fields.expires_at.value = to_local_input(link.expires_at);
    fields.status.value = String(link.status);
  }

  // Someone else was faster: their version is shown, nothing of it is overwritten unseen.
  async function take_newest() {
    const mine = fields.url.value;
    try {
      ({ data: link, etag } = await api.get_link(link.code));
      show();
      show_problem(form, new api.Problem({
        detail: `This link was changed elsewhere meanwhile; its newest values are shown. You had entered ${mine}`,
      }));
    } catch (problem) {
      show_problem(form, problem);
    }
  }

  return async (code) => {
    ({ data: link, etag } = await api.get_link(code));
    result = null;
    clear_errors(form);
    show();
    dialog.showModal();
    fields.url.focus();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    return result;
  };
}

// Gives back ask(link): a promise of true when the link is gone.
export function remove_dialog() {
  const dialog = $('remove');
  let link = null;
  let gone = false;

  const form = prepare(dialog, async () => {
    try {
      await api.delete_link(link.code);
      gone = true;
    } catch (problem) {
      gone = problem.status === 404 || problem.status === 410;
      if (!gone) {
        show_problem(form, problem);
        return;
      }
    }
    announce(`Deleted ${link.code}`);
    dialog.close();
  });

  return async (which) => {
    link = which;
    gone = false;
    clear_errors(form);
    set_text($('remove-short'), without_scheme(link.short_url));
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    return gone;
  };
}
