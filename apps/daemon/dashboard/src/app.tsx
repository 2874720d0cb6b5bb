import { render } from 'preact';
import { App } from './app-view.js';
import { Feed } from './feed.js';

const root = document.getElementById('app');
if (root !== null) render(<App feed={new Feed()} />, root);
