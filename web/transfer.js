// Links from a file and into one. A browser sends all of a request before it reads the answer, so the file goes in
// pieces that end where a row ends: the node's report of each is read before the next is sent, nothing piles up whatever
// the file's length, and the share that was sent is the share that is done.

import * as api from './api.js';
import { $, announce, el, set_text } from './dom.js';
import { prepare_dialog } from './dialogs.js';
import { clear_errors, show_at, show_problem, while_busy } from './fields.js';
import { bytes, whole } from './format.js';

const kPiece = 256 * 1024;
const kLongestRow = 4 * 1024 * 1024;
const kShownProblems = 200;
const kNewline = 10;
const kQuote = 34;

function joined(a, b) {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

const lines_in = (data) => data.reduce((sum, byte) => sum + (byte === kNewline ? 1 : 0), 0);

// Where the last whole row of the piece ends, and where its first one does; 0 when it holds none. A newline inside
// quotes is none in CSV.
function row_ends(data, csv) {
  let inside = false;
  let first = 0;
  let last = 0;
  for (let at = 0; at < data.length; at += 1) {
    if (data[at] === kQuote) inside = csv && !inside;
    else if (data[at] === kNewline && !inside) {
      last = at + 1;
      if (!first) first = last;
    }
  }
  return { first, last };
}

// Gives {body, lines_before, sent, csv}: `lines_before` is what a line number of the body lacks to be one of the file.
async function* pieces(file) {
  const reader = file.stream().getReader();
  let rest = new Uint8Array();
  let header = null;   // of CSV, sent with each piece
  let csv = true;
  let begun = false;
  let lines = 0;
  let sent = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (value) rest = joined(rest, value);
    if (!begun && rest.length) {
      const text = new TextDecoder().decode(rest.slice(0, 256)).trimStart();
      csv = !text.startsWith('{') && !text.startsWith('[');
      begun = true;
    }
    while (rest.length >= kPiece || (done && rest.length)) {
      let end = done && rest.length <= kPiece ? rest.length : row_ends(rest.subarray(0, kPiece), csv).last;
      if (!end) end = row_ends(rest, csv).first;
      if (!end && done) end = rest.length;
      if (!end && rest.length > kLongestRow) throw new api.Problem({ detail: `The row at line ${lines + 1} has no end.` });
      if (!end) break;
      const piece = rest.slice(0, end);
      rest = rest.slice(end);
      const body = header ? joined(header, piece) : piece;
      sent += piece.length;
      yield { body, lines_before: header ? lines - lines_in(header) : lines, sent, csv };
      if (csv && !header) header = piece.slice(0, row_ends(piece, true).first || piece.length);
      lines += lines_in(piece);
    }
    if (done) return;
  }
}

export function start_transfer({ on_links }) {
  const dialog = $('transfer');
  const form = $('import');
  const fields = form.elements;
  const progress = $('import-progress');
  prepare_dialog(dialog);
  let stop = null;

  function problems_table(problems, count) {
    $('import-problems').replaceChildren(
      el('table', { class: 'plain-table' },
        el('caption', {}, count > problems.length ? `The first ${problems.length} of ${whole(count)} problems` : 'Problems'),
        el('thead', {}, el('tr', {}, ...['Line', 'Member', 'Reason'].map((name) => el('th', { scope: 'col' }, name)))),
        el('tbody', {}, ...problems.map((row) => el('tr', {}, el('th', { scope: 'row' }, row.line ? String(row.line) : ''),
          el('td', {}, row.field ?? ''), el('td', {}, row.detail ?? row.code ?? ''))))));
    $('import-problems').hidden = false;
  }

  function said(sum, dry_run, end) {
    const parts = [`${whole(sum.made)} ${dry_run ? 'can be made' : 'made'}`];
    if (sum.exists) parts.push(`${whole(sum.exists)} there already`);
    if (sum.skipped) parts.push(`${whole(sum.skipped)} skipped`);
    if (sum.failed) parts.push(`${whole(sum.failed)} with a problem`);
    return `${end}${whole(sum.rows)} ${sum.rows === 1 ? 'row' : 'rows'}: ${parts.join(', ')}.`;
  }

  async function import_file() {
    const file = fields.file.files[0];
    if (!file) {
      show_at(fields.file, 'Choose a file.');
      return;
    }
    const dry_run = fields.dry_run.checked;
    const mine = new AbortController();
    stop = mine;
    const sum = { rows: 0, made: 0, exists: 0, skipped: 0, failed: 0 };
    const problems = [];
    progress.value = 0;
    progress.hidden = false;
    $('import-stop').hidden = false;
    $('import-problems').hidden = true;
    set_text($('import-status'), 'Sending');
    let end = dry_run ? 'Tried, nothing was written. ' : 'Imported. ';
    try {
      for await (const piece of pieces(file)) {
        const query = new URLSearchParams({
          format: piece.csv ? 'csv' : 'ndjson', dry_run: String(dry_run), report: 'problems',
          on_conflict: fields.skip.checked ? 'skip' : 'fail',
        });
        const response = await api.open(`/v1/imports?${query}`, {
          method: 'POST', body: piece.body, signal: mine.signal,
          headers: { 'content-type': piece.csv ? 'text/csv' : 'application/x-ndjson', accept: 'application/x-ndjson' },
        });
        const before = { ...sum };
        const show = (figures) => {
          for (const name of Object.keys(sum)) sum[name] = before[name] + (figures[name] ?? 0);
          set_text($('import-status'), `${said(sum, dry_run, '')} ${bytes(piece.sent)} of ${bytes(file.size)}`);
        };
        let whole_answer = false;
        for await (const line of api.lines(response)) {
          if (!line) continue;
          const row = JSON.parse(line);
          if (row.progress) show(row.progress);
          if (row.result === 'problem' && problems.length < kShownProblems) {
            problems.push({ ...row, line: row.line ? row.line + piece.lines_before : 0 });
          }
          if (row.total) {
            show(row.total);
            whole_answer = true;
            if (row.total.complete === false) {
              throw new api.Problem({ detail: row.total.problem?.detail ?? 'The node takes no more.', ...row.total.problem });
            }
          }
        }
        if (!whole_answer) throw new api.Problem({ detail: 'The node’s report broke off.' });
        progress.value = piece.sent / file.size;
      }
    } catch (problem) {
      end = mine.signal.aborted ? 'Stopped. ' : 'Broken off. ';
      if (!mine.signal.aborted) show_problem(form, problem instanceof api.Problem ? problem : new api.Problem({ detail: problem.message }));
    }
    stop = null;
    $('import-stop').hidden = true;
    progress.hidden = true;
    if (problems.length) problems_table(problems, sum.failed);
    set_text($('import-status'), said(sum, dry_run, end));
    if (!dry_run && sum.made) on_links();
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clear_errors(form);
    while_busy(form, import_file);
  });
  fields.file.addEventListener('change', () => clear_errors(form));
  $('import-stop').addEventListener('click', () => {
    stop?.abort();
    $('import-file').focus();
  });

  function save(href, name) {
    const anchor = el('a', { href, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  }

  // The browser's own download is the one that needs no memory; it cannot send a key.
  async function export_links(format) {
    const path = `/v1/exports?format=${format}`;
    const name = `links.${format}`;
    if (!api.key()) {
      save(path, name);
      set_text($('export-status'), `${name} is being downloaded.`);
      return;
    }
    set_text($('export-status'), 'Reading');
    try {
      const url = URL.createObjectURL(await (await api.open(path)).blob());
      save(url, name);
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      set_text($('export-status'), `${name} is downloaded.`);
    } catch (problem) {
      set_text($('export-status'), problem.message);
    }
  }
  for (const button of dialog.querySelectorAll('[data-format]')) {
    button.addEventListener('click', () => export_links(button.dataset.format));
  }

  dialog.addEventListener('close', () => {
    if (!stop) return;
    stop.abort();
    announce('The import was stopped');
  });
  $('transfer-open').addEventListener('click', () => {
    dialog.showModal();
    $('import-file').focus();
  });
}
