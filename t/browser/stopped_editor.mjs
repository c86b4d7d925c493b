// Chromium for stopped_editor.t; prints "ok - text" lines, and "stop" when the workspace is to be stopped.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(path.dirname(new URL(import.meta.url).pathname), '../../dashboard/package.json'));
const { chromium } = require('playwright-core');
const { GP_LINK, GP_EDITOR, GP_START, GP_SCREENSHOTS, GP_PROFILE } = process.env;
let failed = 0;
function ok(cond, text) {
    console.log(`${cond ? 'ok' : 'not ok'} - ${text}`);
    if (!cond) failed++;
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
const shot = (name) => (GP_SCREENSHOTS ? page.screenshot({ path: `${GP_SCREENSHOTS}/stopped-${name}.png` }) : undefined);
try {
    await page.goto(GP_LINK);
    await page.waitForURL('**/workspaces');
    await page.goto(GP_EDITOR);
    await page.locator('.explorer-folders-view').getByText('README.md').waitFor({ timeout: 90000 });
    // Our extension has begun: it shows the task's terminal.
    await page.locator('.terminal .xterm-screen:visible').first().waitFor();
    ok(true, 'the editor is open');

    const began = Date.now();
    console.log('stop');
    const dialog = page.locator('.monaco-dialog-box', { hasText: 'This workspace has stopped' });
    await dialog.waitFor({ timeout: 15000 });
    ok(true, `it says that the workspace has stopped (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    ok(/files in it are.*Reload this page/.test(await dialog.textContent()), 'what becomes of the work, and what to do');
    await shot('dialog');
    await dialog.getByRole('button').last().click();
    await dialog.waitFor({ state: 'detached' });

    const lost = page.locator('.monaco-dialog-box', { hasText: 'Attempting to reconnect' });
    await lost.waitFor({ timeout: 90000 });
    ok(true, `the editor itself says later that it has no connection (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    await shot('lost');
    await lost.getByRole('button', { name: 'Reload Window' }).click();
    await page.waitForURL(`${GP_START}*`);
    await page.getByRole('button', { name: 'Open workspace' }).waitFor();
    ok(true, 'its reload is the start page, which waits to be asked');
    await shot('start');
} catch (e) {
    ok(false, `the script got stuck: ${String(e).split('\n').slice(0, 4).join(' ')} at ${page.url().replace(/token=.*/, '')}`);
    await shot('stuck');
} finally {
    await context.close();
}
process.exit(failed ? 1 : 0);
