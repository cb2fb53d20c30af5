// A page that was opened from a disk may start no worker. Then the search runs in a frame that is not shown.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.ready = new Promise((resolve) => this.frame.addEventListener("load", resolve, { once: true }));
      const script = document.createElement("script");
      script.src = url;
      this.frame.srcdoc = script.outerHTML;
      document.body.append(this.frame);
    }

    async postMessage(data) {
      await this.ready;
      const inside = this.frame.contentWindow;
      inside.postMessage = (answer) => this.dispatchEvent(new MessageEvent("message", { data: answer }));
      inside.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
