package coap

// head returns r without its body, to remember what was asked.
func (r *Request) head() Request {
	head := *r
	head.Body, head.job = nil, nil
	return head
}

// Review asks judge about each block transfer that is under way, in either
// direction; call it when the peer's rights have changed. The request has no
// body, and may be modified; of a notification it is the registration. With nil
// the transfer goes on. A Response, which must fit a block, ends it and answers
// the block that comes next. Of answers that handlers are still working on only
// the first block goes out, unless by Request.Answer; for the others the peer must
// ask anew.
//
// judge may block, and then requests of the peer are served all the same.
func (e *Endpoint) Review(judge func(*Request) *Response) {
	e.mu.Lock()
	e.reviews++
	var uploads []*upload
	var downloads []*download
	for _, u := range e.uploads {
		if u.ended == nil {
			uploads = append(uploads, u)
		}
	}
	for _, d := range e.downloads {
		if !d.ended {
			downloads = append(downloads, d)
		}
	}
	e.mu.Unlock()
	for _, u := range uploads {
		head := u.request
		if answer := judge(&head); answer != nil {
			e.mu.Lock()
			e.endUploadLocked(u, answer)
			e.mu.Unlock()
		}
	}
	for _, d := range downloads {
		head := d.request
		if answer := judge(&head); answer != nil {
			e.mu.Lock()
			d.response, d.ended = answer, true
			e.mu.Unlock()
		}
	}
}

// endUploadLocked lets go of what has arrived of u. If u has become whole
// meanwhile, or was given up, there is nothing to end.
func (e *Endpoint) endUploadLocked(u *upload, answer *Response) {
	for _, live := range e.uploads {
		if live == u {
			e.held -= len(u.body)
			u.body, u.ended = nil, answer
		}
	}
}
