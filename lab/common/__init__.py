"""What every lab is made of: namespaces, links, guests' images, clients. It knows of no hypervisor and not of the product."""
