// The questions about a link: how to change it, whether it should really go, and its QR code.

import * as api from './api.js';
import { $, announce, set_text } from './dom.js';
import { clear_errors, prepare_form, show_at, show_problem, with_scheme } from './fields.js';
import { from_local_input, to_local_input, without_scheme } from './format.js';
import { parted, rules_editor } from './rules.js';

// What all dialogs have: a button and the backdrop that close it. Focus is held and given back, and Escape heard, by
// the browser.
export function prepare_dialog(dialog) {
  dialog.querySelector('[data-close]').addEventListener('click', () => dialog.close());
  dialog.addEventListener('mousedown', (event) => {
    if (event.target === dialog) dialog.close();  // the backdrop
  });
}

function prepare(dialog, submit) {
  prepare_dialog(dialog);
  return prepare_form(dialog.querySelector('form'), submit);
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
    for (const name of ['not_before', 'expires_at']) {
      if (fields[name].value !== to_local_input(link[name])) change[name] = from_local_input(fields[name].value);
    }
    if (fields.max_visits.validity.badInput) {
      show_at(fields.max_visits, 'Enter a whole number, or nothing.');
      return;
    }
    const most = fields.max_visits.value === '' ? null : Number(fields.max_visits.value);
    if (most !== (link.max_visits ?? null)) change.max_visits = most;
    if (fields.forward_query.checked !== Boolean(link.forward_query)) change.forward_query = fields.forward_query.checked;
    if (fields.open.checked) change.password = null;
    else if (fields.password.value) change.password = fields.password.value;
    const tags = parted(fields.tags.value);
    if (tags.join() !== (link.tags ?? []).join()) change.tags = tags;
    try {
      const wanted = rules.rules();
      if (JSON.stringify(wanted) !== JSON.stringify(before)) change.rules = wanted;
    } catch (error) {
      $('edit-rules').open = true;
      show_problem(form, new api.Problem({ detail: `The rules are not valid JSON: ${error.message}` }));
      return;
    }
    if (Object.keys(change).length === 0) {
      dialog.close();
      return;
    }
    try {
      result = await api.change_link(api.name_of(link), change, etag);
      announce(`Saved ${link.code}`);
      dialog.close();
    } catch (problem) {
      if (problem.status === 412) await take_newest();
      else if (problem.field.startsWith('rules')) show_rules_problem(problem);
      else show_problem(form, problem);
    }
  });
  const fields = form.elements;
  const rules = rules_editor($('rules'), { on_count: (n) => set_text($('edit-rules-count'), n ? String(n) : 'none') });
  let before = [];

  // "rules[0].when[1].country[2]": people count from one.
  function show_rules_problem(problem) {
    $('edit-rules').open = true;
    const place = problem.field.replace(/^rules\[(\d+)\]/, (_, at) => `Rule ${Number(at) + 1}`).replace(/^rules/, 'Rules');
    show_problem(form, new api.Problem({ detail: `${place}: ${problem.message}` }));
    form.querySelector('.banner').scrollIntoView({ block: 'nearest' });
  }

  // Whether there is a password is known, which one is not.
  function show_password() {
    set_text($('edit-password-hint'), !link.has_password ? 'empty is none' : fields.open.checked ? 'is removed' : 'empty keeps the one there is');
    $('edit-open-row').hidden = !link.has_password;
    fields.password.disabled = fields.open.checked;
  }
  fields.open.addEventListener('change', show_password);

  function show() {
    form.reset();
    show_password();
    set_text($('edit-short'), without_scheme(link.short_url));
    fields.url.value = link.url;
    fields.title.value = link.title ?? '';
    fields.not_before.value = to_local_input(link.not_before);
    fields.expires_at.value = to_local_input(link.expires_at);
    fields.max_visits.value = link.max_visits ?? '';
    fields.forward_query.checked = Boolean(link.forward_query);
    fields.tags.value = (link.tags ?? []).join(', ');
    rules.set(link.rules);
    before = rules.rules();
    $('edit-rules').open = before.length > 0;
    fields.status.value = String(link.status);
  }

  // Someone else was faster: their version is shown, nothing of it is overwritten unseen.
  async function take_newest() {
    const mine = fields.url.value;
    try {
      ({ data: link, etag } = await api.get_link(api.name_of(link)));
      show();
      show_problem(form, new api.Problem({
        detail: `This link was changed elsewhere meanwhile; its newest values are shown. You had entered ${mine}`,
      }));
    } catch (problem) {
      show_problem(form, problem);
    }
  }

  dialog.addEventListener('close', () => form.reset());  // a password stays no longer than it is needed

  return async (name) => {
    ({ data: link, etag } = await api.get_link(name));
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
      await api.delete_link(api.name_of(link));
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

// Gives back show(link). The code leads to the short URL with the mark of a scan, which statistics tell apart.
export function qr_dialog() {
  const dialog = $('qr');
  prepare_dialog(dialog);
  $('qr-image').addEventListener('error', () => {
    set_text($('qr-error'), 'The QR code could not be read.');
    $('qr-error').hidden = false;
  });
  return (link) => {
    const path = `/${encodeURIComponent(link.code)}.qr?${new URLSearchParams({ domain: link.domain })}`;
    set_text($('qr-short'), without_scheme(link.short_url));
    $('qr-error').hidden = true;
    $('qr-image').alt = `QR code of ${link.short_url}`;
    $('qr-image').src = `${path}&format=svg`;
    for (const format of ['svg', 'png']) {
      const anchor = $(`qr-${format}`);
      anchor.href = `${path}&format=${format}${format === 'png' ? '&size=1000' : ''}`;
      anchor.download = `${link.code}.${format}`;
    }
    dialog.showModal();
  };
}
