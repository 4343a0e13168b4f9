// The first page: shorten a link, see it listed and counted, see the tiers it passes.

import { card_code, forget_card, start_create, update_card } from './create.js';
import { start_links } from './links.js';
import { start_tiers } from './tiers.js';

const links = start_links({ on_link: update_card, on_gone: forget_card, extra: card_code });
start_create({ on_created: (link) => links.add(link), on_follow: (code) => links.follow(code) });
start_tiers();
