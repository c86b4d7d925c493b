// Drives headless Chromium for first_light.t; prints "ok - text" lines.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(path.dirname(new URL(import.meta.url).pathname), '../../dashboard/package.json'));
const { chromium } = require('playwright-core');

const { GP_LINK, GP_URL, GP_REPOSITORY, GP_SCREENSHOTS, GP_PROFILE, GP_EDITOR_HOST } = process.env;
// In mode port all editors have one host, each a port of its own.
const editorOf = (id) => (GP_EDITOR_HOST ? new RegExp(`^http://${GP_EDITOR_HOST}:\\d+/\\?folder=`) : new RegExp(`^http://${id}\\.`));
const portOf = (id) => (GP_EDITOR_HOST ? new RegExp(`^http://${GP_EDITOR_HOST}:\\d+/$`) : new RegExp(`^http://8000-${id}\\.`));
let failed = 0;
function ok(cond, text) {
    console.log(`${cond ? 'ok' : 'not ok'} - ${text}`);
    if (!cond) failed++;
    return cond;
}

const context = await chromium.launchPersistentContext(GP_PROFILE, {
    executablePath: path.join(path.dirname(new URL(import.meta.url).pathname), 'chromium.pl'),
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--disable-3d-apis'],
});
context.setDefaultTimeout(60000);
const page = context.pages()[0] ?? (await context.newPage());
const problems = [];
page.on('console', (m) => {
    if (m.type() === 'error' && page.url().startsWith(GP_URL)) problems.push(`${page.url()}: ${m.text()}`);
});
page.on('pageerror', (e) => { if (page.url().startsWith(GP_URL)) problems.push(String(e)); });
const shot = (name) => page.screenshot({ path: `${GP_SCREENSHOTS}/${name}.png` });

// Types a command into the editor's terminal and waits until its mark shows up on disk, by the terminal itself.
async function terminal(command) {
    await page.keyboard.press('Control+Shift+Backquote');
    await page.waitForSelector('.terminal .xterm-helper-textarea', { state: 'attached' });
    await page.locator('.terminal .xterm-screen:visible').last().waitFor();
    await page.locator('.terminal .xterm-helper-textarea').last().focus();
    await page.keyboard.type(command + '\n', { delay: 5 });
}

async function inEditor() {
    await page.waitForSelector('.monaco-workbench', { timeout: 90000 });
    await page.waitForFunction(() => document.title.includes('hello'), null, { timeout: 60000 });
    await page.locator('.explorer-folders-view').getByText('README.md').waitFor({ timeout: 60000 });
}

// What the terminals on the screen show, as text: without WebGL the editor draws them as elements.
async function rows() {
    return page.evaluate(() => [...document.querySelectorAll('.terminal .xterm-rows > div')].map((r) => r.textContent.trimEnd()).join('\n'));
}

async function taskTabs() {
    return page.evaluate(() => [...document.querySelectorAll('.terminal-tabs-entry, .single-terminal-tab')].map((t) => t.textContent.trim()));
}

async function fetchFile(url) {
    return page.evaluate(async (u) => { const r = await fetch(u); return r.ok ? r.text() : `status ${r.status}`; }, url);
}

async function waitText(get, want, ms) {
    const end = Date.now() + ms;
    let text = '';
    while (Date.now() < end) {
        text = await get();
        if (text.includes(want)) return text;
        await new Promise((r) => setTimeout(r, 200));
    }
    return text;
}

try {
    await page.goto(GP_LINK);
    await page.waitForURL('**/workspaces');
    ok(true, 'the one-time link signs in and shows the workspaces page');
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    await shot('01-workspaces-empty');

    await page.goto(GP_LINK);
    await page.waitForURL('**/login?error=link*');
    ok(true, 'the link works once, and the page says so the second time');

    await page.goto(`${GP_URL}/#${GP_REPOSITORY}`);
    await page.waitForURL(/\/start\/?#/);
    ok(true, 'a Git URL behind # opens the start page');
    await shot('02-start-page');
    const id = new URL(page.url()).hash.slice(1);
    await page.waitForURL(editorOf(id), { timeout: 90000 });
    ok(true, 'the start page goes to the workspace by itself');
    await inEditor();
    ok(true, 'VS Code shows the cloned repository');
    ok(!page.url().includes('code='), 'no hand-off code stays in the address');

    ok((await waitText(rows, 'task-says-42', 30000)).includes('task-says-42'), 'the output of the task is on the screen by itself');
    ok(/^greet\b/.test((await taskTabs())[0] ?? ''), `its terminal has the task's name (${await taskTabs()})`);
    const preview = page.frameLocator('iframe.webview').frameLocator('iframe');
    await preview.getByRole('heading', { name: 'hello from the repository' }).waitFor();
    ok(await page.getByText('Walkthrough').count() === 0, 'the README greets, no walkthrough');
    await shot('03-editor-opens');
    await page.locator('.terminal-tabs-entry', { hasText: 'ended' }).click();
    ok((await waitText(rows, 'Press Enter to close', 15000)).includes('gone-43'), 'what a task said that has ended can be read');
    await page.locator('.terminal .xterm-screen:visible').click();
    await page.keyboard.press('Enter');
    await page.locator('.terminal-tabs-entry', { hasText: 'ended' }).waitFor({ state: 'detached', timeout: 15000 });
    await new Promise((r) => setTimeout(r, 1000)); // that it was put away is remembered
    await page.reload();
    await inEditor();
    ok((await waitText(rows, 'task-says-42', 30000)).includes('task-says-42'), 'a reload shows the task again');
    await new Promise((r) => setTimeout(r, 2000));
    ok(String(await taskTabs()) === 'greet', `once, and not the one that was put away (${await taskTabs()})`);
    await shot('03-editor-reloaded');
    const origin = new URL(page.url()).origin;
    const file = (name) => `${origin}${resource}?path=${encodeURIComponent('/workspace/hello/' + name)}`;
    const resource = await page.evaluate(() => {
        const s = performance.getEntriesByType('resource').map((e) => e.name).find((n) => /\/stable-[0-9a-f]+\//.test(n));
        return new URL(s).pathname.replace(/(\/stable-[0-9a-f]+)\/.*/, '$1/vscode-remote-resource');
    });

    await terminal('whoami > who.txt; echo proof-$((40+2)) > note.txt');
    const note = await waitText(() => fetchFile(file('note.txt')), 'proof-42', 30000);
    ok(note.includes('proof-42'), 'a command typed into the terminal runs in the workspace');
    ok((await fetchFile(file('who.txt'))).trim() === 'gitpod', 'the terminal is the user gitpod');
    await page.keyboard.type('echo root-is-$(sudo id -u) > sudo.txt\n', { delay: 5 });
    ok((await waitText(() => fetchFile(file('sudo.txt')), 'root-is-', 15000)).trim() === 'root-is-0', 'sudo works in the terminal');
    await shot('03-editor-terminal');

    // A program on a port, and the link to it in the editor's own view of ports.
    await page.keyboard.type('(cd /workspace/hello && setsid python3 -m http.server 8000 >/dev/null 2>&1 &)\n', { delay: 5 });
    await page.keyboard.press('F1');
    await page.keyboard.type('Ports: Focus on Ports View', { delay: 5 });
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Focus on Ports View' }).first().waitFor();
    await page.keyboard.press('Enter');
    const row8000 = page.locator('.monaco-table .monaco-list-row', { hasText: '8000' }).first();
    await row8000.waitFor({ timeout: 60000 });
    await shot('03-editor-ports');
    const opened = context.waitForEvent('page');
    await row8000.locator('.ports-view-actionbar-cell-localaddress').first().click({ modifiers: ['Control'] });
    const port = await opened;
    await port.waitForURL(portOf(id), { timeout: 30000 });
    await port.getByRole('link', { name: 'README.md' }).waitFor();
    ok(true, `the editor's own view of ports links to the program (${port.url()})`);
    await port.close();

    const tasks = await waitText(() => fetchFile(file('tasks.txt')), 'command', 15000);
    ok(tasks === 'init\ncommand\n', 'tasks of .gitpod.yml ran: init, then command');

    await page.goto(`${GP_URL}/workspaces`);
    const row = page.locator('[data-workspace-id]', { hasText: 'hello' }).first();
    await row.waitFor();
    ok((await row.textContent()).match(/running/i), 'the list says that it runs');
    await shot('04-workspaces-list');
    await row.getByRole('button', { name: /stop/i }).click();
    await page.waitForFunction((i) => /stopped/i.test(document.querySelector(`[data-workspace-id="${i}"]`)?.textContent ?? ''), id);
    ok(true, 'Stop on the page stops it, and the page says so without a reload');
    await shot('05-stopped');

    await page.goto(`${GP_URL}/start/#${id}`);
    await page.getByRole('button', { name: /start|open/i }).first().click();
    await page.waitForURL(editorOf(id), { timeout: 90000 });
    await inEditor();
    ok((await waitText(() => fetchFile(file('note.txt')), 'proof-42', 30000)).includes('proof-42'), 'after stop and start the uncommitted file is there');
    ok((await waitText(() => fetchFile(file('tasks.txt')), 'command\ncommand', 15000)) === 'init\ncommand\ncommand\n', 'init ran once, command at each start');
    await shot('06-editor-again');

    await page.goto(`${GP_URL}/workspaces`);
    await page.locator(`[data-workspace-id="${id}"]`).waitFor();
    await page.locator(`[data-workspace-id="${id}"]`).getByRole('button', { name: /rename/i }).click();
    await page.getByRole('dialog').getByRole('textbox').fill('my hello');
    await page.keyboard.press('Enter');
    await page.locator(`[data-workspace-id="${id}"]`, { hasText: 'my hello' }).waitFor();
    ok(true, 'Rename works from the page');
    await page.locator(`[data-workspace-id="${id}"]`).getByRole('button', { name: /delete/i }).click();
    await page.getByRole('dialog').getByRole('button', { name: /delete/i }).click();
    await page.locator(`[data-workspace-id="${id}"]`).waitFor({ state: 'detached' });
    ok(true, 'Delete asks and then removes it from the page');
    await shot('07-deleted');

    ok(problems.length === 0, `no console errors on our pages ${problems.slice(0, 5).join(' | ')}`);
} catch (e) {
    ok(false, `the script got stuck: ${String(e).split('\n').slice(0, 4).join(' ')} at ${page.url().replace(/token=.*/, '')}`);
    await shot('99-stuck').catch(() => {});
} finally {
    await context.close();
}
process.exit(failed ? 1 : 0);
