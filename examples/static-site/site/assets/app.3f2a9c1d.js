// The name holds a hash of the content: a new version gets a new name.
document.querySelector('#when').textContent =
  `It was made on ${new Date(document.lastModified).toLocaleDateString(undefined, { dateStyle: 'long' })}.`;
